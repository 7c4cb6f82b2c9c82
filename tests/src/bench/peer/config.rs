//! The configuration files of haproxy and nginx.
use std::net::SocketAddrV4;
use std::path::Path;

use super::{Peer, Route, Way};

pub(super) fn haproxy_config(variant: Peer, route: &Route, root: bool) -> String {
    let user = if root { "  user haproxy\n  group haproxy\n" } else { "" };
    let pipes = if variant == Peer::HaproxyPipes { "  tune.pipesize 1048576\n" } else { "" };
    let splice = if variant == Peer::Haproxy { "" } else { "  option splice-request\n  option splice-response\n" };
    // It refuses to start when its connections, and a pipe for every fourth of them if it splices, need too many descriptors.
    let connections = if variant == Peer::Haproxy { 9000 } else { 2000 };
    format!(
        "global\n  maxconn {connections}\n{user}{pipes}\
         defaults\n  mode tcp\n  timeout client 1h\n  timeout server 1h\n{splice}{}\
         listen forward\n  bind {}\n{}",
        haproxy_timing(route.targets.len()),
        route.listen,
        haproxy_servers(route),
    )
}

/// With several targets haproxy gets what makes it best at leaving one out.
fn haproxy_timing(targets: usize) -> &'static str {
    if targets > 1 {
        "  timeout connect 500ms\n  timeout check 300ms\n  retries 3\n  option redispatch 1\n  balance roundrobin\n"
    } else {
        "  timeout connect 5s\n"
    }
}

fn haproxy_servers(route: &Route) -> String {
    let check = if route.targets.len() > 1 { " check inter 500ms fall 1 rise 1" } else { "" };
    let server = |(index, target): (usize, &SocketAddrV4)| format!("  server target{index} {target}{check}\n");
    route.targets.iter().enumerate().map(server).collect()
}

pub(super) fn nginx_config(route: &Route, root: bool) -> String {
    let user = if root { "user www-data;\n" } else { "" };
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = if Path::new(module).exists() { format!("load_module {module};\n") } else { String::new() };
    // Without sockets of their own, workers would each make a session of the same client.
    let datagrams = if route.way == Way::Udp { " udp reuseport" } else { "" };
    let servers: String = route.targets.iter().map(|target| format!("    server {target};\n")).collect();
    format!(
        "{load}{user}daemon off;\npid nginx.pid;\nworker_processes auto;\nworker_rlimit_nofile 20000;\n\
         events {{\n  worker_connections 20000;\n}}\n\
         stream {{\n  upstream targets {{\n{servers}  }}\n\
         \x20 server {{\n    listen {}{datagrams};\n    proxy_pass targets;\n  }}\n}}\n",
        route.listen,
    )
}
