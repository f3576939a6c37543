/** What a long list will come to: how its sender learns it, and what its receiver does with it. */
import { describe, expect, test } from "vitest";
import { DiskRunner } from "../../src/files/disk-runner.ts";
import type { DiskRequest } from "../../src/files/disk.ts";
import type { SimDisk } from "../../src/sim/disk.ts";
import { ChunkSupply } from "../../src/transfer/chunk-supply.ts";
import { MessageDecoder } from "../../src/transfer/control-stream.ts";
import type { ControlMessage } from "../../src/transfer/messages.ts";
import { encodeMessage } from "../../src/transfer/messages.ts";
import { ScannedOffers } from "../../src/transfer/offers.ts";
import { ServerSession } from "../../src/transfer/server-session.ts";
import { DEFAULT_OPTIONS } from "../../src/transfer/transfer-options.ts";
import { REQUEST } from "../support/hostile-peer.ts";
import { disk, hash } from "./pair.ts";

/** `count` files of two bytes in directories of a thousand below `/t`. */
function tree(count: number): SimDisk {
  const from = disk("from");
  for (let i = 0; i < count; i++) from.plant(`/t/${Math.floor(i / 1_000)}/${i}`, new Uint8Array(2));
  return from;
}

/** Offers taken until the totals are known or the list is over, and how often each directory was listed. */
function offerUntilCounted(from: SimDisk): { offered: number; totals: unknown; listings: number } {
  const runner = new DiskRunner();
  const opened = from.perform({ kind: "open-root", location: "/", create: false });
  const root = (opened as { root: number }).root;
  const starts = [{ root, path: ["t"], name: ["t"] }];
  const options = { sendsLinks: false, filter: undefined };
  const feed = new ScannedOffers(runner, hash, new ChunkSupply(runner, hash, 1), starts, options, () => {});
  let offered = 0;
  for (;;) {
    // A receiver that answers nothing lets a sender go so far.
    const step = offered < 1_100 ? feed.next() : undefined;
    if (step?.type === "offer") offered++;
    const requests = runner.takeRequests();
    for (const { id, operation } of requests) runner.handleResult(id, from.perform(operation));
    if (step?.type === "end" || feed.totals !== undefined) break;
    if (step === undefined && requests.length === 0) break;
  }
  return { offered, totals: feed.totals, listings: from.calls["open-directory"] ?? 0 };
}

describe("a sender", () => {
  test("does not count a short list", () => {
    // 500 files, their directory and the one above.
    expect(offerUntilCounted(tree(500))).toEqual({ offered: 502, totals: undefined, listings: 2 });
  });

  test("counts one that it can keep while it scans on: each directory is listed once", () => {
    const { totals, listings } = offerUntilCounted(tree(5_000));
    expect([totals, listings]).toEqual([{ entries: 5_006, totalBytes: 10_000 }, 6]);
  });

  test("walks a longer one a second time, and does not keep it", () => {
    const { totals, listings } = offerUntilCounted(tree(40_000));
    expect(totals).toEqual({ entries: 40_041, totalBytes: 80_000 });
    // All 41 directories to count, and those of the first 1 100 + 16 384 entries to offer them.
    expect(listings).toBeGreaterThan(41 + 17);
    expect(listings).toBeLessThan(41 + 21);
  });
});

describe("a receiver that was told", () => {
  const entry = (object: number): ControlMessage => ({
    type: "entry",
    object,
    kind: "file",
    path: `f${object}`,
    sizeBytes: 1_000,
    mode: 0o644,
    modifiedAtUs: 0,
    token: new Uint8Array(16).fill(1),
    target: "",
  });

  /** Accepts of a server that has `capacityBytes` and cannot look at f1, of a list of 100 000 bytes. */
  function accepted(capacityBytes: number): number[] {
    const to = disk("to");
    to.faults = { ...to.faults, capacityBytes };
    const host = { hash, peerKey: new Uint8Array(32), peerFingerprint: "x", peerAddress: "y", umask: 0o022 };
    const session = new ServerSession(host, {
      location: "/",
      canRead: true,
      canWrite: true,
      keepsExisting: false,
    });
    const decoder = new MessageDecoder();
    const objects: number[] = [];
    const isHeld = ({ operation }: DiskRequest): boolean =>
      operation.kind === "lstat" && operation.path.at(-1) === "f1";
    const messages: ControlMessage[] = [
      { ...REQUEST, options: DEFAULT_OPTIONS },
      entry(0),
      entry(1),
      { type: "totals", entries: 100, totalBytes: 100_000 },
    ];
    for (const message of messages) {
      session.handleControlBytes(encodeMessage(message), 0);
      for (let rounds = 0; rounds < 20; rounds++) {
        for (const request of session.takeDiskRequests())
          if (!isHeld(request)) session.handleDiskResult(request.id, to.perform(request.operation), 0);
        for (const answer of decoder.handleBytes(session.takeControlBytes(100_000)))
          if (answer.type === "accept") objects.push(answer.object);
      }
    }
    return objects;
  }

  test("takes what it has looked at when all of the list fits", () => {
    expect(accepted(10_000_000)).toEqual([0]);
  });

  test("waits until it has looked at everything when not all of it fits", () => {
    expect(accepted(60_000)).toEqual([]);
  });
});
