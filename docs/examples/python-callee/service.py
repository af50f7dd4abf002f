#!/usr/bin/env python3
"""A service that measures a folder when crony calls it, with the standard library alone. In the sources' root:

    python3 docs/examples/python-callee/service.py 8082 /usr/share
    bin/crony job apply -f docs/examples/python-callee/jobs.yaml

For servers that speak HTTPS, SSL_CERT_FILE names a copy of the file pki/ca.crt of one of them. The protocol: docs/callbacks.md.
"""
import http.client, http.server, json, os, sys, threading, time, urllib.error, urllib.parse, urllib.request
from datetime import datetime, timezone


class Stop(Exception):
    """The run is to end, or nobody can be told of it."""


class NoRedirect(urllib.request.HTTPRedirectHandler):  # the token is for the servers alone
    def redirect_request(self, *args):
        return None


class Run:
    opener = urllib.request.build_opener(NoRedirect)

    def __init__(self, headers):
        self.path = "/api/v1/callbacks/" + urllib.parse.quote(headers["Crony-Run-Id"], safe="")
        self.attempt, self.token = int(headers["Crony-Attempt"]), headers["Crony-Token"]
        self.servers = headers["Crony-Servers"].split(",")
        self.until = time.monotonic() + int(headers["Crony-Timeout"])
        self.seq = self.logged = 0

    def tell(self, **what):
        """Tells one thing, and returns when a server has it. Told twice it counts once, as its number stays the same."""
        self.seq += 1
        event = {"seq": self.seq, "at": datetime.now(timezone.utc).isoformat(), **what}
        body = json.dumps({"attempt": self.attempt, "events": [event]}).encode()
        headers = {"Authorization": "Bearer " + self.token, "Content-Type": "application/json"}
        pause = 0.2
        while time.monotonic() < self.until:
            for server in self.servers:
                try:
                    request = urllib.request.Request(server.strip() + self.path, body, headers)
                    with self.opener.open(request, timeout=10) as answer:
                        stop = json.load(answer).get("stop")
                except urllib.error.HTTPError as e:
                    if e.code in (400, 401, 413):
                        raise Stop(f"{server} answers {e.code}")
                except (OSError, ValueError, AttributeError, http.client.HTTPException):
                    pass  # it is down, or is no crony server: the next one
                else:
                    if stop:
                        raise Stop(stop)
                    return
            time.sleep(pause)
            pause = min(2 * pause, 15)
        raise Stop("the deadline has passed")

    def log(self, line):
        text = (line + "\n").encode(errors="replace").decode()  # a file's name need not be text
        self.tell(log={"offset": self.logged, "text": text})
        self.logged += len(text.encode())


def measure(run, folder):
    try:
        files = size = 0
        entries = sorted(os.listdir(folder))
        for i, name in enumerate(entries):
            found = [os.path.join(d, f) for d, _, names in os.walk(os.path.join(folder, name)) for f in names]
            found = [f for f in found or [os.path.join(folder, name)] if os.path.isfile(f) and not os.path.islink(f)]
            files, size = files + len(found), size + sum(map(os.path.getsize, found))
            run.log(f"{name}: {len(found)} files")
            run.tell(progress={"percent": (i + 1) * 100 // len(entries)})
        run.tell(result={"state": "succeeded", "data": {"files": files, "bytes": size}})
    except OSError as e:
        run.tell(result={"state": "failed", "reason": str(e)[:100]})


def work(run, folder):
    try:
        measure(run, folder)
    except Stop as why:
        print(f"{run.path}: {why}", file=sys.stderr)


class Service(http.server.BaseHTTPRequestHandler):
    seen, lock = set(), threading.Lock()  # a call whose answer was lost comes again

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        try:
            run = Run(self.headers)
        except (TypeError, ValueError, AttributeError):
            return self.send_error(400, "not a call of an asynchronous job")
        with self.lock:
            new = (run.path, run.attempt) not in self.seen
            self.seen.add((run.path, run.attempt))
        if new:
            threading.Thread(target=work, args=(run, sys.argv[2]), daemon=True).start()
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Service)
    print("listening on", server.server_port, flush=True)
    server.serve_forever()
