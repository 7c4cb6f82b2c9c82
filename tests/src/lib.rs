//! What tests with several processes need: the real `fairlead` program, targets that can die, clients in numbers.
//! The tests themselves are in `tests/`, one file per promise; the benchmark is `bench`.

pub mod bench;
pub mod binary;
pub mod carried;
pub mod chart;
pub mod clients;
pub mod cluster;
pub mod datagrams;
pub mod deadline;
pub mod far;
pub mod golden;
pub mod manifests;
pub mod objects;
pub mod operator;
pub mod operator_side;
pub mod passage;
pub mod ports;
pub mod proxies;
pub mod scale;
pub mod scene;
pub mod silence;
pub mod skip;
pub mod sshd;
pub mod targets;
pub mod verdicts;
