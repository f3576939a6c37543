/**
 * Whether a short system call is made at once or handed to a thread.
 *
 * A name or a page that the system has in memory is answered in a few microseconds; a thread that is
 * woken for it, and that wakes us again, costs both sides a multiple of that. A disk that makes us wait is worth a
 * thread: then others go on meanwhile. Which of the two it is, the calls themselves show.
 * docs/design/small-files.md
 */

/** What handing a call to a thread costs, in microseconds: submission, two wake-ups, a callback. Measured, docs/design/small-files.md */
const THREAD_COST_US = 50;

/** Time that calls may lose against threads before these take over, in microseconds: less than a packet's way over the Internet. */
const CREDIT_US = 5_000;

/** Most that one call may lose: a process that has to share its processor loses a few milliseconds now and then, without any fault of the disk. */
const LOSS_MAX_US = 2_000;

/** A call that took so long is reason enough. */
const STALL_US = 50_000;

/** The credit of the next attempt, so that a disk that stays slow is found out soon. */
const PROBE_CREDIT_US = 500;

/** Calls that go to threads after the credit was lost; twice as many each time it is lost again, up to `THREAD_CALLS_MAX`. */
const THREAD_CALLS = 64;
const THREAD_CALLS_MAX = 4_096;

/** Decides for one kind of call. */
export class CallPace {
  private creditUs = CREDIT_US;
  private threadCallsLeft = 0;
  private threadCallsNext = THREAD_CALLS;

  /** Whether the next call is to be made at once; then `handleCalls` is told how long it took. */
  takeTurn(): boolean {
    if (this.threadCallsLeft === 0) return true;
    this.threadCallsLeft--;
    return false;
  }

  /** Calls, one unless said, were made at once and took so long together, in microseconds. */
  handleCalls(totalUs: number, count = 1): void {
    const elapsedUs = totalUs / count;
    const lossUs = elapsedUs < STALL_US ? Math.min(elapsedUs, LOSS_MAX_US) : Infinity;
    this.creditUs = Math.min(CREDIT_US, this.creditUs + THREAD_COST_US - lossUs);
    if (this.creditUs === CREDIT_US) this.threadCallsNext = THREAD_CALLS;
    if (this.creditUs >= 0) return;
    this.creditUs = PROBE_CREDIT_US;
    this.threadCallsLeft = this.threadCallsNext;
    this.threadCallsNext = Math.min(2 * this.threadCallsNext, THREAD_CALLS_MAX);
  }
}
