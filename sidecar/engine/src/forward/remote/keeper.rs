//! Keeps a far end's port: one attempt after the other, each on a worker, with pauses as `recovery` says.

use std::{future::Future, sync::Arc, time::Instant};

use tokio::{
    sync::{mpsc, watch},
    time::sleep_until,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{Binding, Event, Kind, Places, Setback, Standing, Turn, recovery::Recovery, stopped};
use crate::{accept::Phase, engine::Context};

/// Keeps a port until the forward is stopped; both tasks end when dropped.
pub(crate) struct Keeper {
    _look: AbortOnDropHandle<()>,
    _keep: AbortOnDropHandle<()>,
}

impl Keeper {
    /// Begins; `attempt` makes the future of each attempt, which runs on a worker.
    pub(crate) fn begin<F>(
        binding: &Arc<Binding>,
        context: &Context,
        attempt: impl Fn(Turn) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Setback> + Send + 'static,
    {
        if binding.look() {
            context.changes.notify();
        }
        let looks = Arc::clone(binding);
        let look = context.changes.clone().look(move || looks.look());
        let keep = keep(Arc::clone(binding), Places::of(context), attempt);
        Self {
            _look: AbortOnDropHandle::new(context.control.spawn(look)),
            _keep: AbortOnDropHandle::new(context.control.spawn(keep)),
        }
    }
}

async fn keep<F>(binding: Arc<Binding>, places: Places, attempt: impl Fn(Turn) -> F)
where
    F: Future<Output = Setback> + Send + 'static,
{
    let (mut recovery, mut phases) = (Recovery::default(), binding.control.phases());
    loop {
        let begun = Instant::now();
        let Some(outcome) = one_attempt(&binding, &places, &attempt, &mut recovery, &mut phases).await else { return };
        let now = Instant::now();
        let Some(setback) = outcome else {
            recovery.handed_over(now);
            continue;
        };
        let pause = recovery.pause(setback.kind, now, rand::random());
        if !(setback.kind == Kind::Busy && recovery.is_letting_go(now)) {
            binding.say_setback(setback);
        }
        tokio::select! {
            () = sleep_until((begun + pause).into()) => {}
            () = stopped(&mut phases) => return,
        }
    }
}

/// None: the forward was stopped. A setback of none: the port was handed over.
async fn one_attempt<F>(
    binding: &Arc<Binding>,
    places: &Places,
    attempt: &impl Fn(Turn) -> F,
    recovery: &mut Recovery,
    phases: &mut watch::Receiver<Phase>,
) -> Option<Option<Setback>>
where
    F: Future<Output = Setback> + Send + 'static,
{
    tokio::select! {
        () = binding.control.room() => {}
        () = stopped(phases) => return None,
    }
    let (told, mut events) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let _stop_with_us = stop.clone().drop_guard();
    let worker = places.load.least();
    let patience = recovery.patience(Instant::now());
    let turn = Turn { told, stop, patience, worker, _guard: binding.control.enter_loop() };
    let running = places.handles[worker].spawn(attempt(turn));
    loop {
        tokio::select! {
            biased;
            event = events.recv() => match event {
                Some(Event::Held(address)) => {
                    recovery.held(Instant::now());
                    binding.say(Standing::Held(address));
                }
                Some(Event::HandedOver) => return Some(None),
                None => return Some(Some(running.await.unwrap_or_else(Setback::lost))),
            },
            () = stopped(phases) => return None,
        }
    }
}
