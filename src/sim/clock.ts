/**
 * The virtual clock: what happens next, in which order. Nothing here waits.
 */
import { assert } from "../base/assert.ts";
import { TimeHeap } from "./time-heap.ts";

/** Something that wants to be woken at a time of its own, which may move. */
export interface Sleeper {
  /** Called once when the time has come; it sets its next time with `schedule`. */
  wake(nowUs: number): void;
}

class Alarm {
  readonly sleeper: Sleeper;
  /** When it wants to be woken; infinite: not at all. */
  dueUs = Number.POSITIVE_INFINITY;
  /** Time of the one heap entry that counts; infinite: none. */
  queuedUs = Number.POSITIVE_INFINITY;

  constructor(sleeper: Sleeper) {
    this.sleeper = sleeper;
  }
}

interface Entry {
  readonly atUs: number;
  readonly order: number;
  readonly alarm: Alarm;
}

/** Virtual time and everything that waits for it. */
export class VirtualClock {
  private timeUs: number;
  private order = 0;
  private readonly heap = new TimeHeap<Entry>();
  private readonly alarms = new Map<Sleeper, Alarm>();

  /** @param startUs - First time shown, in microseconds. */
  constructor(startUs: number) {
    this.timeUs = startUs;
  }

  /** Now, in microseconds. */
  get nowUs(): number {
    return this.timeUs;
  }

  /**
   * Sets when a sleeper is woken, in place of what was set before; infinite cancels. A time in the
   * past means now.
   */
  schedule(sleeper: Sleeper, atUs: number): void {
    let alarm = this.alarms.get(sleeper);
    if (alarm === undefined) {
      if (atUs === Number.POSITIVE_INFINITY) return;
      alarm = new Alarm(sleeper);
      this.alarms.set(sleeper, alarm);
    }
    alarm.dueUs = Math.max(atUs, this.timeUs);
    // A later time waits for the entry that is already there: timers move on far more often than they fire.
    if (alarm.dueUs < alarm.queuedUs) this.enter(alarm);
  }

  /** Runs `action` once at `atUs`. */
  at(atUs: number, action: (nowUs: number) => void): void {
    const sleeper: Sleeper = { wake: action };
    this.schedule(sleeper, atUs);
  }

  /**
   * Moves to the next event not later than `untilUs` and wakes its sleeper. Returns false when there is
   * none: the clock then stands at `untilUs`, if that is finite.
   */
  step(untilUs: number): boolean {
    for (;;) {
      const entry = this.heap.peek();
      if (entry === undefined || entry.atUs > untilUs) {
        if (Number.isFinite(untilUs)) this.timeUs = Math.max(this.timeUs, untilUs);
        return false;
      }
      this.heap.pop();
      const { alarm } = entry;
      if (entry.atUs !== alarm.queuedUs) continue;
      alarm.queuedUs = Number.POSITIVE_INFINITY;
      if (alarm.dueUs > entry.atUs) {
        if (alarm.dueUs === Number.POSITIVE_INFINITY) this.alarms.delete(alarm.sleeper);
        else this.enter(alarm);
        continue;
      }
      assert(entry.atUs >= this.timeUs, "time does not run backwards");
      this.timeUs = entry.atUs;
      this.alarms.delete(alarm.sleeper);
      alarm.sleeper.wake(entry.atUs);
      return true;
    }
  }

  private enter(alarm: Alarm): void {
    alarm.queuedUs = alarm.dueUs;
    this.heap.push({ atUs: alarm.dueUs, order: this.order++, alarm });
  }
}
