//! The objects of PortForwards on a real API server, run by the real operator and real proxies: whose names they are,
//! who shares them, and what becomes of them when things change, move, break or go.

mod deletion;
mod drift;
mod moves;
mod names;
mod quota;
mod references;
mod replaced;
mod replicas;
mod restart;
mod servers;
mod shared;
mod ssh;
mod suspension;
mod what;
