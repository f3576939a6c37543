import { describe, expect, test } from "vitest";
import { ControlQueue } from "./control-queue.ts";
import { ReceiveWindow, SendCredit } from "./flow-control.ts";
import { Streams } from "./streams.ts";
import { LocalConnectionIds, RemoteConnectionIds } from "./connection-ids.ts";
import { RoutingTable } from "./routing-table.ts";
import { SeededRandom } from "../base/random.ts";

const id = (value: number): Uint8Array => new Uint8Array(8).fill(value);
const violation = expect.objectContaining({ code: "PROTOCOL_VIOLATION" });

describe("ids we gave out", () => {
  test("a retired one is released and replaced", () => {
    let next = 1;
    const released: number[] = [];
    const ids = new LocalConnectionIds(
      { issueConnectionId: () => id(next++), releaseConnectionId: (gone) => void released.push(gone[0]) },
      id(0),
    );
    expect(ids.replenish(8)).toEqual([1, 2, 3]);
    ids.handleRetire(0);
    ids.handleRetire(0);
    expect(released).toEqual([0]);
    expect(ids.replenish(8)).toEqual([4]);
    expect(() => ids.handleRetire(5)).toThrow(violation);
    ids.releaseAll();
    expect(released).toEqual([0, 1, 2, 3, 4]);
  });
});

describe("ids the peer gave us", () => {
  test("the next one is taken when we move, and the old one given back", () => {
    const ids = new RemoteConnectionIds(id(0), 3);
    ids.next(); // no spare: the present one stays
    expect(ids.current).toEqual(id(0));
    ids.handleNew(1, 0, id(1), 0);
    ids.next();
    expect([ids.current, ids.takeRetired(), ids.takeRetired()]).toEqual([id(1), [0], []]);
    ids.handleNew(0, 0, id(0), 0); // a late copy of a retired one
    expect([ids.hasSpare, ids.takeRetired()]).toEqual([false, [0]]);
  });

  test("the peer can ask for old ones back, RFC 9000 §5.1.2", () => {
    const ids = new RemoteConnectionIds(id(0), 3);
    ids.handleNew(2, 2, id(2), 0);
    expect([ids.current, ids.takeRetired()]).toEqual([id(2), [0]]);
    ids.handleNew(1, 0, id(1), 0); // overtaken by its own retirement
    expect([ids.current, ids.takeRetired()]).toEqual([id(2), [1]]);
  });

  test("too many, or another id under the same number, end the connection", () => {
    const ids = new RemoteConnectionIds(id(0), 3);
    ids.handleNew(1, 0, id(1), 0);
    expect(() => ids.handleNew(1, 0, id(9), 0)).toThrow(violation);
    ids.handleNew(2, 0, id(2), 0);
    expect(() => ids.handleNew(3, 0, id(3), 0)).toThrow(violation);
  });
});

test("a peer that makes us retire ids without end is cut off", () => {
  const streams = new Streams("initiator");
  const localIds = new LocalConnectionIds(
    { issueConnectionId: () => id(1), releaseConnectionId: () => {} },
    id(0),
  );
  const control = new ControlQueue({
    streams,
    window: new ReceiveWindow(1, 1),
    credit: new SendCredit(1),
    localIds,
  });
  const retire = (count: number): void =>
    control.addRetiredConnectionIds(Array.from({ length: count }, (_, sequence) => sequence));
  retire(256);
  expect(() => retire(257)).toThrow(violation);
});

test("routes lead from an id to its owner, and from nothing else", () => {
  const random = new SeededRandom(1);
  const table = new RoutingTable<string>((target) => random.bytes(target));
  const [a, b] = [table.issue("a"), table.issue("b")];
  expect([table.find(a, 0), table.find(b, 0)]).toEqual(["a", "b"]);
  const almost = a.slice();
  almost[7] ^= 1; // the same routing key, another id
  expect(table.find(almost, 0)).toBeUndefined();
  table.release(a);
  expect([table.find(a, 0), table.size]).toEqual([undefined, 1]);
});
