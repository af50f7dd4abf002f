package crony

import "time"

// HostFigures is how an agent's host was at a moment. An agent takes them only while somebody looks.
type HostFigures struct {
	At      time.Time `json:"at"` // by the agent's clock
	CPUs    int       `json:"cpus"`
	CPU     float64   `json:"cpu"`      // share of all CPUs' time that was used in the moments before, from 0 to 1
	Load1   float64   `json:"load_1"`   // load average of one minute
	Load5   float64   `json:"load_5"`   // of five minutes
	Load15  float64   `json:"load_15"`  // of fifteen minutes
	Uptime  int64     `json:"uptime"`   // seconds since the host booted
	DiskDir string    `json:"disk_dir"` // the agent's directory: the disk is that which holds it

	MemoryTotal     int64 `json:"memory_total"`     // bytes
	MemoryAvailable int64 `json:"memory_available"` // bytes that programs could still get without swapping
	DiskTotal       int64 `json:"disk_total"`       // bytes
	DiskAvailable   int64 `json:"disk_available"`   // bytes that programs without privileges can still write
}
