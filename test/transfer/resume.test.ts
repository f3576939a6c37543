import { describe, expect, test } from "vitest";
import { CHUNK_BYTES } from "../../src/base/limits.ts";
import { isLeftoverName } from "../../src/files/staging-name.ts";
import { SeededRandom } from "../../src/base/random.ts";
import type { GodwitEvent } from "../../src/events/event.ts";
import type { SimDisk } from "../../src/sim/disk.ts";
import { DEFAULT_OPTIONS } from "../../src/transfer/transfer-options.ts";
import { differences, published, disk, outcomes, Pair, pull, push } from "./pair.ts";

const random = new SeededRandom(3, "content");
const bytes = (size: number): Uint8Array => random.bytes(new Uint8Array(size));
const BIG = bytes(60 * CHUNK_BYTES + 5);
const SMALL = Array.from({ length: 40 }, (_, i) => [`/tree/s${i}`, bytes(1_000 + i)] as const);
const TREE = [["/tree/big", BIG] as const, ...SMALL];

function source(): SimDisk {
  const from = disk("from");
  for (const [path, content] of TREE) from.plant(path, content);
  return from;
}

function resumedBytes(events: readonly GodwitEvent[]): number {
  return events.reduce((sum, event) => sum + (event.type === "transfer-resumed" ? event.haveBytes : 0), 0);
}

describe("resume", () => {
  for (const direction of ["push", "pull"] as const)
    for (const end of ["kill", "cancel", "power"] as const)
      test(`${direction}: ${end} at random moments, then the same command`, () => {
        const moments = new SeededRandom(9, direction + end);
        let resumed = 0;
        runs: for (let run = 0; run < 25; run++) {
          const from = source();
          const to = disk("to");
          const receiver = (pair: Pair): Pair["client"] | Pair["server"] =>
            direction === "push" ? pair.server : pair.client;
          const start = (stopAt: number): Pair => {
            const onRound = (pair: Pair): boolean => receiver(pair).consumed >= stopAt;
            const options = { loss: 0.03, seed: run, onRound };
            return direction === "push"
              ? new Pair(from, to, push(["tree"]), options)
              : new Pair(to, from, pull(["tree"]), options);
          };
          let total = 0;
          for (let attempt = 0; attempt < 3; attempt++) {
            const pair = start(moments.integer(0, BIG.length));
            pair.run();
            resumed += resumedBytes(receiver(pair).events);
            if (pair.client.session.outcome?.code === undefined && pair.isOver) {
              expect(differences(to.tree(), TREE)).toEqual([]);
              continue runs;
            }
            total += receiver(pair).received;
            if (end === "cancel") {
              pair.client.session.cancel("INTERRUPTED", "stopped", pair.nowUs);
              pair.server.session.handleConnectionClosed("INTERRUPTED", "stopped", pair.nowUs);
              pair.drain();
              expect(from.openHandles + to.openHandles).toBe(0);
            }
            from.killProcess();
            if (end === "power") to.cutPower();
            else to.killProcess();
          }
          const pair = start(Number.POSITIVE_INFINITY);
          pair.run();
          const [client, server] = outcomes(pair);
          expect(client.text).toBe("41 files complete");
          expect(server.code).toBeUndefined();
          expect(differences(published(to.durableTree()), TREE)).toEqual([]);
          expect(differences(to.tree(), TREE)).toEqual([]);
          total += receiver(pair).received;
          // Contract §3: no verified byte again beyond 8 MiB and 5 %, per interruption.
          const size = TREE.reduce((sum, [, content]) => sum + content.length, 0);
          expect(total).toBeLessThan(size + 3 * (8 * 1024 * 1024 + 0.05 * size));
          expect(receiver(pair).received + resumedBytes(receiver(pair).events)).toBe(size);
          resumed += resumedBytes(receiver(pair).events);
        }
        // Not every moment leaves something, but together they leave the larger part of a few transfers.
        expect(resumed).toBeGreaterThan(3 * BIG.length);
      });
});

test("pull: a server that falls silent after the last file is not waited for", () => {
  const from = source();
  const to = disk("to");
  const onRound = ({ client }: Pair): boolean =>
    (client.session as unknown as { receiver?: { hasSentResult: boolean } }).receiver?.hasSentResult === true;
  const pair = new Pair(to, from, pull(["tree"]), { onRound });
  pair.run();
  const dueUs = pair.client.session.nextTimeoutUs() ?? 0;
  expect(dueUs).toBeLessThanOrEqual(pair.nowUs + 5_000_000);
  pair.client.session.handleTimeout(dueUs - 1);
  expect(pair.client.session.outcome).toBeUndefined();
  pair.client.session.handleTimeout(dueUs);
  pair.server.session.handleConnectionClosed(undefined, "", dueUs);
  pair.drain();
  expect(outcomes(pair)[0]).toMatchObject({ code: undefined, text: "41 files complete" });
  expect(differences(to.tree(), TREE)).toEqual([]);
});

describe("an earlier run's staging file that needs no data now goes when the job ends", () => {
  const staged = (to: SimDisk): string[] =>
    [...to.tree().keys()].filter((path) => isLeftoverName(path.split("/").at(-1) ?? ""));

  /** A push of the tree that is killed in the middle of its large file. */
  function interrupted(): { from: SimDisk; to: SimDisk } {
    const from = source();
    const to = disk("to");
    new Pair(from, to, push(["tree"]), { onRound: ({ server }) => server.consumed > 30 * CHUNK_BYTES }).run();
    from.killProcess();
    to.killProcess();
    expect(staged(to).some((path) => path.startsWith("/tree/.godwit-"))).toBe(true);
    return { from, to };
  }

  test("its place was taken meanwhile: the file is refused", () => {
    const { from, to } = interrupted();
    to.plant("/tree/big", bytes(5));
    const pair = new Pair(from, to, push(["tree"]), {});
    pair.run();
    expect(outcomes(pair)[0]).toMatchObject({ code: "PARTIAL" });
    expect(staged(to)).toEqual([]);
  });

  test("it is no longer offered", () => {
    const { to } = interrupted();
    const from = disk("from");
    for (const [path, content] of SMALL) from.plant(path, content);
    const pair = new Pair(from, to, push(["tree"], { options: { ...DEFAULT_OPTIONS, update: true } }), {});
    pair.run();
    expect(outcomes(pair)[0].code).toBeUndefined();
    expect(staged(to)).toEqual([]);
  });
});
