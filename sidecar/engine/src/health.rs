//! Active health checks: dials every node of a forward at an interval, without waiting for a client.
//! The outcome goes to the selector like any other dial's.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    dial::dial,
    group::{Dialing, Group},
    plan::HealthCheckPlan,
    resolve::Resolver,
};

/// Health checks of one proxy that are under way at a time; further ones wait.
pub(crate) const CHECKS_LIMIT: usize = 64;
/// The longest the first check waits, so that forwards which begin together don't check together.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// Checks the group's nodes until dropped; `places` limits the checks of all forwards together.
pub(crate) async fn check(group: Arc<Group>, plan: HealthCheckPlan, resolver: Arc<Resolver>, places: Arc<Semaphore>) {
    sleep(plan.interval.min(FIRST_WITHIN).mul_f64(rand::random())).await;
    let mut ticks = interval(plan.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        join_all(group.nodes().iter().enumerate().map(|(index, _)| {
            let (group, resolver, places) = (&group, &resolver, &places);
            async move {
                let Ok(_place) = places.acquire().await else { return };
                if let Some(dialing) = group.dial_at(index) {
                    judge(dialing, plan.timeout, resolver).await;
                }
            }
        }))
        .await;
    }
}

async fn judge(dialing: Dialing, timeout: Duration, resolver: &Arc<Resolver>) {
    match dial(Arc::clone(&dialing.node.address), timeout, Arc::clone(resolver)).await {
        Ok(_) => dialing.answered(),
        Err(error) => dialing.failed(&error),
    }
}
