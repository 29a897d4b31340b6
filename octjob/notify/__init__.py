"""Telling others that runs and sweeps have ended: events, kept in the store until a receiver has taken them."""

from octjob.notify.event import Event, run_events, sweep_event
from octjob.notify.notifier import Notifier
from octjob.notify.receiver import Receiver, parse_receiver

__all__ = ["Event", "Notifier", "Receiver", "parse_receiver", "run_events", "sweep_event"]
