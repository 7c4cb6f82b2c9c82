//! Help by example, shown by `-h` below the flags. Each example can be pasted and run as it stands,
//! but for the host names.

pub(crate) const ABOUT: &str = "\
Forwards TCP and UDP ports to targets, of which only the live ones get clients.

A forward listens on a port and hands each client to one of its targets, chosen by strategy (round, random, fifo). \
A target that fails max_fails times is dead: left out for fail_timeout, then tried again. \
What to forward is said by a PortForward manifest, the same that a cluster takes, or by a GOST URL.";

pub(crate) const TOP: &str = "\
Examples:
  See it work:
    fairlead demo
  Forward a port to two targets in turn:
    fairlead run -L tcp://:8080/10.0.0.1:80,10.0.0.2:80
  Run manifests, following their changes:
    fairlead run forwards.yaml
  Find out what is wrong with them beforehand:
    fairlead check forwards.yaml
  Make a manifest of a GOST command line:
    fairlead convert -L tcp://:8080/10.0.0.1:80

fairlead COMMAND -h shows a command's flags and examples.";

pub(crate) const RUN: &str = "\
Examples:
  Two targets in turn; one that fails is left out for 10 seconds:
    fairlead run -L 'tcp://:8080/10.0.0.1:80,10.0.0.2:80?fail_timeout=10s'
  A primary, and a standby that gets clients only while the primary is dead:
    fairlead run -L 'tcp://:5432/db1:5432,db2:5432?strategy=fifo'
  Through two proxies, of which the first has a stand-in, and a login from a
  file (\"user password\"):
    fairlead run -L tcp://:5432/db1:5432 -F 'http://p1:3128?ip=p1:3128,p2:3128' \\
      -F 'socks5://bastion:1080?secrets=login.txt'
  A proxy server for who has the login, and one for this host alone that speaks
  HTTP, SOCKS4 and SOCKS5:
    fairlead run -L socks5://ann:s3cret@:1080 -L :8080
  Every manifest of a directory; an edit, a new file or a removed one takes
  effect at once, and a broken one changes nothing:
    fairlead run forwards/
  Manifests from elsewhere:
    kubectl get pfw orders-db -o yaml | fairlead run -
  Which nodes are dead, for a script:
    fairlead run -o json forwards.yaml |
      jq -c '.status.nodes[] | select(.state == \"Dead\")'

Hops (-F): socks5, socks4, socks4a, http and forward.
Servers (-L): socks5, http, auto, socks4, socks4a, sni, relay and ss; without
users they listen on 127.0.0.1, unless anonymous=true.
URL options, with their defaults:
  strategy=round (or random, fifo)  max_fails=1  fail_timeout=30s
  timeout=5s  hedge_delay=200ms
An empty listening address is every address with -L, and loopback in a manifest.

Exit code:
  0  after SIGINT or SIGTERM and draining; a second signal ends at once
  1  a port can't be listened on at the start
  2  invalid input, after listing everything that is wrong with it";

pub(crate) const CHECK: &str = "\
Examples:
  fairlead check forwards.yaml
  fairlead check deploy/ more.yaml              Also finds two forwards on one port
  helm template . | fairlead check -

Exit code: 0 when all is well, 1 otherwise.";

pub(crate) const CONVERT: &str = "\
Examples:
  fairlead convert -L 'tcp://:8080/10.0.0.1:80,10.0.0.2:80?strategy=fifo&max_fails=2'
  fairlead convert -L tcp://:8080/10.0.0.1:80 > forward.yaml && fairlead run forward.yaml
  fairlead convert -- gost -L=tcp://:8080/10.0.0.1:80 -F=socks5://proxy:1080
  fairlead convert -- ssh -N -L 5432:db.internal:5432 you@bastion.example.net

Manifests go to standard output; warnings, such as what differs from GOST, to
standard error.";

pub(crate) const DEMO: &str = "\
Starts two small web servers and the forward of deploy/examples/quickstart.yaml,
all on loopback, and tells what to type to stop a target and to see it come back.
Ctrl-C ends it.";

pub(crate) const PROXY: &str = "\
Examples:
  fairlead proxy --config /etc/fairlead/config.yaml --metrics-addr :19444
  curl http://127.0.0.1:19444/readyz
  fairlead proxy --config /etc/fairlead/config/config.yaml --admin-addr :19443 --admin-ca /etc/fairlead/config/ca.crt

The file is read anew as it changes; one that can't be read, or whose revision
is not newer, changes nothing. Ready once a first configuration is in force. A
forward that can't run is refused alone, and reported. On the admin port an
operator with a certificate of that authority pushes configurations
(PUT /config) and watches reports (GET /report?watch=true).";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  fairlead completions bash > ~/.local/share/bash-completion/completions/fairlead
  fairlead completions zsh > \"${fpath[1]}/_fairlead\"";
