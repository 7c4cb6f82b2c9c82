//! Forwards in pods of the user's, on a real API server with the real operator: pods that come before, after and without
//! their PortForward, made by `fairlead-operator inject` in namespaces that let only restricted pods in.

mod application;
mod golden;
mod mounts;
mod skew;
mod waiting;
