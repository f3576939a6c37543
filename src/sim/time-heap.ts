/**
 * A binary heap ordered by time; entries of the same time leave in the order they came, so that a
 * simulation runs the same way every time.
 */

/** What the heap orders. */
export interface Timed {
  /** When it is due, in microseconds. */
  readonly atUs: number;
  /** Tie-breaker, set by the heap's user: ascending in order of arrival. */
  readonly order: number;
}

function before(a: Timed, b: Timed): boolean {
  return a.atUs < b.atUs || (a.atUs === b.atUs && a.order < b.order);
}

/** Entries in ascending time. */
export class TimeHeap<T extends Timed> {
  private readonly entries: T[] = [];

  get size(): number {
    return this.entries.length;
  }

  /** The earliest entry, or `undefined`. */
  peek(): T | undefined {
    return this.entries[0];
  }

  push(entry: T): void {
    const { entries } = this;
    let at = entries.length;
    entries.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(entry, entries[parent])) break;
      entries[at] = entries[parent];
      at = parent;
    }
    entries[at] = entry;
  }

  /** Removes and returns the earliest entry, or `undefined`. */
  pop(): T | undefined {
    const { entries } = this;
    const first = entries[0];
    const last = entries.pop();
    if (last === undefined || entries.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= entries.length) break;
      if (child + 1 < entries.length && before(entries[child + 1], entries[child])) child += 1;
      if (!before(entries[child], last)) break;
      entries[at] = entries[child];
      at = child;
    }
    entries[at] = last;
    return first;
  }
}
