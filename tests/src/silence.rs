//! Makes a listener behave like a host that is gone: a filter in the kernel takes its SYNs away, unanswered.

use std::{io, os::fd::AsFd};

use socket2::{SockFilter, SockRef};

/// Makes a listener ignore SYNs, as a host that is gone would; handshakes under way are finished.
pub(crate) fn drop_syns(listener: impl AsFd) -> io::Result<()> {
    // Classic BPF on the TCP header: load the byte of flags, keep SYN and ACK, drop if only SYN is left.
    let filter = [
        SockFilter::new(0x30, 0, 0, 13),
        SockFilter::new(0x54, 0, 0, 0x12),
        SockFilter::new(0x15, 0, 1, 0x02),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ];
    SockRef::from(&listener.as_fd()).attach_filter(&filter)
}

/// Makes a connection hear nothing more, as if its host or the way to it were gone: what comes is dropped unanswered.
pub fn cut_off(connection: impl AsFd) -> io::Result<()> {
    SockRef::from(&connection.as_fd()).attach_filter(&[SockFilter::new(0x06, 0, 0, 0)])
}

/// Undoes [`drop_syns`].
pub(crate) fn take_syns(listener: impl AsFd) -> io::Result<()> {
    SockRef::from(&listener.as_fd()).detach_filter()
}
