package agent

// What differs between platforms, and where. All else in this package is the same everywhere.
//
// How a run is held together: [cgroup] and [cgroups] make, enter, count, ask to end, kill, measure and find again what holds an
// attempt, with its limits (cgroup_*.go). On Linux that is a cgroup, on Windows a job object; macOS has none. What has none is
// known by its processes, [kin] (kin_unix.go).
//
// How a process is started, waited for, and taken up by the next life: [command.start], [spawned], [children] (spawned_*.go). As
// whom: [accountOf] (account_*.go). With which limits of setrlimit(2): [Launch] (launch_linux.go, rlimit_*.go). By which
// interpreter, with which environment, found where: command_unix.go and command_windows.go, which also say where an agent's files
// are.
//
// What the host says of its processes, its boot and its clock: startTicks, bootID, boottime, readProcs (proc_*.go).
// How it is: lookAtHost (host_linux.go, host_other.go).
//
// How files are opened for a process, kept from others, locked, put in place, and given back to the disk: disk_*.go.
//
// What a platform lacks of what jobs may ask for is told to the servers by [lacks], and refused when a run is to start that
// asks for it.
