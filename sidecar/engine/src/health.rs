//! Active health checks: dials every node of a forward at an interval, without waiting for a client.
//! The outcome goes to the selector like any other dial's.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    dial::dial,
    group::{Dialing, Group},
    plan::HealthCheckPlan,
    resolve::Resolver,
};

/// Checks the group's nodes until dropped.
pub(crate) async fn check(group: Arc<Group>, plan: HealthCheckPlan, resolver: Arc<Resolver>) {
    let mut ticks = interval(plan.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        join_all(group.dial_each().into_iter().map(|dialing| judge(dialing, plan.timeout, &resolver))).await;
    }
}

async fn judge(dialing: Dialing, timeout: Duration, resolver: &Arc<Resolver>) {
    match dial(Arc::clone(&dialing.node.address), timeout, Arc::clone(resolver)).await {
        Ok(_) => dialing.answered(),
        Err(error) => dialing.failed(&error),
    }
}
