/**
 * From connection ids to connections, without allocating per packet: a map by the id's routing key,
 * then all bytes compared. Ids are picked so that their keys differ.
 */
import { InvariantError } from "../base/assert.ts";
import type { RandomBytes } from "../base/random.ts";
import { connectionIdKey, newConnectionId, sameConnectionId } from "../wire/connection-id.ts";

/** Tries to find an id whose key is free: with a thousand ids in 2^30 keys, a second one is rare. */
const ISSUE_TRIES = 64;

interface Route<T> {
  readonly id: Uint8Array;
  readonly target: T;
}

/** Connection ids of one endpoint. */
export class RoutingTable<T> {
  private readonly randomBytes: RandomBytes;
  private readonly routes = new Map<number, Route<T>>();

  constructor(randomBytes: RandomBytes) {
    this.randomBytes = randomBytes;
  }

  /** Ids in use. */
  get size(): number {
    return this.routes.size;
  }

  /** A new random id that leads to `target`. */
  issue(target: T): Uint8Array {
    for (let i = 0; i < ISSUE_TRIES; i++) {
      const id = newConnectionId(this.randomBytes);
      const key = connectionIdKey(id, 0);
      if (this.routes.has(key)) continue;
      this.routes.set(key, { id, target });
      return id;
    }
    throw new InvariantError("no free connection id: the random source repeats itself");
  }

  /** Takes an id back. */
  release(id: Uint8Array): void {
    this.routes.delete(connectionIdKey(id, 0));
  }

  /** Whom the id at `at` belongs to, or `undefined`. */
  find(bytes: Uint8Array, at: number): T | undefined {
    const route = this.routes.get(connectionIdKey(bytes, at));
    return route !== undefined && sameConnectionId(route.id, 0, bytes, at) ? route.target : undefined;
  }
}
