/** Which limit held the rate of a connection, and for how long. */

/** What kept a sender from sending more. */
export type SendLimit = "congestion" | "pacing" | "flow-control" | "application" | "disk" | "handshake";

/** Adds up how long each limit held. */
export class LimitClock {
  private readonly spent: Record<SendLimit, number> = {
    congestion: 0,
    pacing: 0,
    "flow-control": 0,
    application: 0,
    disk: 0,
    handshake: 0,
  };
  private limit: SendLimit = "handshake";
  private sinceUs: number;

  constructor(nowUs: number) {
    this.sinceUs = nowUs;
  }

  /** What holds the rate at present. */
  get current(): SendLimit {
    return this.limit;
  }

  /** From `nowUs` on, `limit` is what holds the rate. */
  enter(limit: SendLimit, nowUs: number): void {
    this.spent[this.limit] += nowUs - this.sinceUs;
    this.limit = limit;
    this.sinceUs = nowUs;
  }

  /** Time in each limit up to `nowUs`, in microseconds. */
  totals(nowUs: number): Record<SendLimit, number> {
    this.enter(this.limit, nowUs);
    return { ...this.spent };
  }
}
