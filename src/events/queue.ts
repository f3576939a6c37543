/** A bounded queue of events between a state machine and its driver. */
import type { GodwitEvent } from "./event.ts";

/** Events held at once: a driver drains after every call, so only a bug or a stall reaches it. */
const EVENTS_HELD = 65_536;

/** What an empty queue hands out: drained each turn, so without a new array each time. */
const NOTHING: readonly GodwitEvent[] = [];

/** Collects events until they are drained. When nobody drains, the oldest are counted and dropped. */
export class EventQueue {
  private events: GodwitEvent[] = [];
  /** Whether per-packet events are wanted: they cost time, so nobody makes them unasked. */
  wantsPackets = false;
  /** Events dropped because nobody drained. */
  droppedCount = 0;

  /** Appends an event. */
  add(event: GodwitEvent): void {
    if (this.events.length >= EVENTS_HELD) {
      this.events = this.events.slice(EVENTS_HELD / 2);
      this.droppedCount += EVENTS_HELD / 2;
    }
    this.events.push(event);
  }

  /** Whether events are waiting. */
  get isEmpty(): boolean {
    return this.events.length === 0;
  }

  /** Hands out all waiting events, oldest first. */
  take(): readonly GodwitEvent[] {
    if (this.events.length === 0) return NOTHING;
    const taken = this.events;
    this.events = [];
    return taken;
  }
}
