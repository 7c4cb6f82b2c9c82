//! Active health checks: dials every node of a forward at an interval, without waiting for a client.
//! The outcome goes to the selector like any other dial's.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    chain::reach,
    connect::Dialer,
    group::{Dialing, Group},
    plan::HealthCheckPlan,
};

/// Health checks of one proxy that are under way at a time; further ones wait.
pub(crate) const CHECKS_LIMIT: usize = 64;
/// The longest the first check waits, so that forwards which begin together don't check together.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// Checks the group's nodes until dropped, each round with the `dialer` of that time; `places` limits the checks of all
/// forwards together.
pub(crate) async fn check(
    group: Arc<Group>,
    plan: HealthCheckPlan,
    dialer: impl Fn() -> Dialer + Send,
    places: Arc<Semaphore>,
) {
    sleep(plan.interval.min(FIRST_WITHIN).mul_f64(rand::random())).await;
    let mut ticks = interval(plan.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let dialer = &Dialer { timeout: plan.timeout, ..dialer() };
        join_all(group.nodes().iter().enumerate().map(|(index, _)| {
            let (group, places) = (&group, &places);
            async move {
                let Ok(_place) = places.acquire().await else { return };
                if let Some(dialing) = group.dial_at(index) {
                    judge(dialing, dialer).await;
                }
            }
        }))
        .await;
    }
}

async fn judge(dialing: Dialing, dialer: &Dialer) {
    match reach(dialer.clone(), Arc::clone(&dialing.node.address)).await {
        Ok(_) => dialing.answered(),
        Err(error) if error.hop == dialer.path.level() => dialing.failed(&error),
        // Of a hop before it.
        Err(_) => drop(dialing),
    }
}
