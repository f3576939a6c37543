/** Events for programs: `for await (const event of transfer)`. */

/** Events held for a reader that is slow; beyond it the oldest are dropped and counted. */
const EVENTS_HELD = 10_000;

/**
 * A stream of events that any number of readers can iterate; each sees what happens after it began.
 *
 * A reader that nobody drains holds at most 10 000 events: older ones are dropped, never the last.
 */
export class EventStream<Event> implements AsyncIterable<Event> {
  private readonly readers = new Set<Reader<Event>>();
  private isEnded = false;

  /** Whether anybody is reading. */
  get hasReaders(): boolean {
    return this.readers.size > 0;
  }

  /** Gives an event to every reader. */
  emit(event: Event): void {
    for (const reader of this.readers) reader.push(event);
  }

  /** Ends the stream: readers finish after what they hold. */
  end(): void {
    this.isEnded = true;
    for (const reader of this.readers) reader.end();
    this.readers.clear();
  }

  [Symbol.asyncIterator](): AsyncIterator<Event, undefined> {
    const reader = new Reader<Event>(() => this.readers.delete(reader));
    if (this.isEnded) reader.end();
    else this.readers.add(reader);
    return reader;
  }
}

class Reader<Event> implements AsyncIterator<Event, undefined> {
  private held: Event[] = [];
  private waiting: ((result: IteratorResult<Event, undefined>) => void) | undefined;
  private isEnded = false;
  private readonly leave: () => void;

  constructor(leave: () => void) {
    this.leave = leave;
  }

  push(event: Event): void {
    if (this.waiting !== undefined) {
      const resolve = this.waiting;
      this.waiting = undefined;
      resolve({ value: event, done: false });
      return;
    }
    if (this.held.length >= EVENTS_HELD) this.held.shift();
    this.held.push(event);
  }

  end(): void {
    this.isEnded = true;
    this.waiting?.({ value: undefined, done: true });
    this.waiting = undefined;
  }

  next(): Promise<IteratorResult<Event, undefined>> {
    const event = this.held.shift();
    if (event !== undefined) return Promise.resolve({ value: event, done: false });
    if (this.isEnded) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve) => {
      this.waiting = resolve;
    });
  }

  return(): Promise<IteratorResult<Event, undefined>> {
    this.leave();
    this.held = [];
    this.end();
    return Promise.resolve({ value: undefined, done: true });
  }
}
