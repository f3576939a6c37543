import { expect, test } from "vitest";
import { CHUNK_BYTES } from "../../src/base/limits.ts";
import type { DiskSequence } from "../../src/files/disk.ts";
import { findLeftovers, removeLeftover } from "../../src/files/leftovers.ts";
import type { SimDisk } from "../../src/sim/disk.ts";
import { disk, Pair, push } from "./pair.ts";

function runOn<T>(on: SimDisk, sequence: DiskSequence<T>): T {
  let step = sequence.next();
  while (step.done !== true) step = sequence.next(on.perform(step.value));
  return step.value;
}

test("what an interrupted transfer left is found and removed, unless it is running", () => {
  const from = disk("from");
  const to = disk("to");
  from.plant("/t/big", new Uint8Array(60 * CHUNK_BYTES).fill(1));
  to.plant("/t/mine", Uint8Array.of(1));
  const pair = new Pair(from, to, push(["t"]), {
    onRound: ({ server }) => server.consumed > 20 * CHUNK_BYTES,
  });
  pair.run();
  expect(pair.isOver).toBe(false);
  const opened = to.perform({ kind: "open-root", location: "/", create: false });
  if (!opened.ok || !("root" in opened)) throw new Error("no root");
  const [running] = runOn(to, findLeftovers(opened.root)).values();
  expect(running.paths.map((path) => path.join("/").replaceAll(/[0-9a-f]{16}/g, "X")).sort()).toEqual([
    ".godwit-X.journal",
    ".godwit-X.lock",
    "t/.godwit-X-X.part",
  ]);
  expect(runOn(to, removeLeftover(opened.root, running)).inUse).toBe(true);
  expect(to.tree().size).toBe(4);
  to.killProcess();
  const again = to.perform({ kind: "open-root", location: "/", create: false });
  if (!again.ok || !("root" in again)) throw new Error("no root");
  const [left] = runOn(to, findLeftovers(again.root)).values();
  expect(runOn(to, removeLeftover(again.root, left))).toEqual({ inUse: false, failed: 0 });
  expect([...to.tree().keys()]).toEqual(["/t/mine"]);
  expect(runOn(to, findLeftovers(again.root)).size).toBe(0);
});
