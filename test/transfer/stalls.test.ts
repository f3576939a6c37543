import { describe, expect, test } from "vitest";
import type { GodwitEvent } from "../../src/events/event.ts";
import type { DiskRequest } from "../../src/files/disk.ts";
import { ClientSession, type ClientRequest } from "../../src/transfer/client-session.ts";
import { MessageDecoder } from "../../src/transfer/control-stream.ts";
import type { ControlMessage } from "../../src/transfer/messages.ts";
import { encodeMessage } from "../../src/transfer/messages.ts";
import { ServerSession } from "../../src/transfer/server-session.ts";
import type { SessionHost, TransferSession } from "../../src/transfer/session.ts";
import { DEFAULT_OPTIONS } from "../../src/transfer/transfer-options.ts";
import type { SimDisk } from "../../src/sim/disk.ts";
import { REQUEST } from "../support/hostile-peer.ts";
import { disk, hash, Pair, outcomes, pull, push } from "./pair.ts";

const S = 1_000_000;

function host(patienceUs?: number): SessionHost {
  const peer = { peerKey: new Uint8Array(32), peerFingerprint: "x", peerAddress: "y" };
  return { hash, ...peer, umask: 0o022, patienceUs };
}

/** One session against a peer that takes everything and says only what the test says. */
class Alone {
  nowUs = 0;
  readonly said: ControlMessage[] = [];
  readonly events: GodwitEvent[] = [];
  readonly held: DiskRequest[] = [];
  holdsDisk = false;
  readonly session: TransferSession;
  private readonly to: SimDisk;
  private readonly decoder = new MessageDecoder();

  constructor(session: TransferSession, to: SimDisk) {
    this.session = session;
    this.to = to;
    this.settle();
  }

  settle(): void {
    const { session, nowUs } = this;
    session.pump(nowUs);
    for (;;) {
      const requests = session.takeDiskRequests();
      if (this.holdsDisk) this.held.push(...requests.splice(0));
      for (const { id, operation } of requests)
        session.handleDiskResult(id, this.to.perform(operation), nowUs);
      const bytes = session.takeControlBytes(100_000);
      this.said.push(...this.decoder.handleBytes(bytes));
      if (requests.length === 0 && bytes.length === 0) break;
    }
    this.events.push(...session.takeEvents());
  }

  hear(...messages: readonly ControlMessage[]): void {
    for (const message of messages) this.session.handleControlBytes(encodeMessage(message), this.nowUs);
    this.settle();
  }

  /** Lets time pass as a host does: from one timeout to the next. */
  passUntil(untilUs: number): void {
    for (let turns = 0; this.session.outcome === undefined && turns < 100_000; turns++) {
      const dueUs = this.session.nextTimeoutUs();
      if (dueUs === undefined || dueUs > untilUs) break;
      expect(dueUs).toBeGreaterThanOrEqual(this.nowUs);
      this.nowUs = dueUs;
      this.session.handleTimeout(dueUs);
      this.settle();
      this.endedAtUs = dueUs;
    }
    this.nowUs = Math.max(this.nowUs, untilUs);
  }

  private endedAtUs = 0;

  get end(): readonly [code: string | undefined, atUs: number] | undefined {
    const { outcome } = this.session;
    return outcome === undefined ? undefined : [outcome.code, this.endedAtUs];
  }
}

const ENTRY: ControlMessage = {
  type: "entry",
  object: 0,
  kind: "file",
  path: "x",
  sizeBytes: 10,
  mode: 0o644,
  modifiedAtUs: 0,
  token: new Uint8Array(16).fill(1),
  target: "",
};

function serverOn(to: SimDisk, patienceUs?: number): Alone {
  const policy = { location: "/", canRead: true, canWrite: true, keepsExisting: false };
  return new Alone(new ServerSession(host(patienceUs), policy), to);
}

describe("a peer that answers on the network and is mute", () => {
  const requests: readonly [string, ClientRequest][] = [
    ["a push", push(["a"])],
    ["a pull", pull(["a"])],
    ["a pull into a stream", { mode: "pull-pipe", path: "a" }],
    ["a list", { mode: "list", paths: [""] }],
  ];
  for (const [name, request] of requests)
    test(`${name} at a mute server ends after the patience with exit 6 and a reason`, () => {
      const from = disk("from");
      from.plant("/a", new Uint8Array(10));
      const alone = new Alone(new ClientSession(host(30 * S), request, 0), from);
      alone.passUntil(29 * S);
      expect(alone.end).toBeUndefined();
      alone.passUntil(100 * S);
      expect(alone.session.outcome).toMatchObject({
        code: "NO_PROGRESS",
        text: expect.stringContaining("no progress for 30 s") as string,
      });
      expect(from.openHandles).toBe(0);
    });

  test("60 s is enough for a client that says nothing after its request; what is there is kept", () => {
    const to = disk("to");
    const alone = serverOn(to);
    alone.nowUs = 10 * S;
    alone.hear(REQUEST, ENTRY, { type: "entries-end", entries: 1, totalBytes: 10 });
    alone.passUntil(70 * S - 1);
    expect(alone.end).toBeUndefined();
    alone.passUntil(200 * S);
    expect(alone.session.outcome?.code).toBe("NO_PROGRESS");
    expect(to.openHandles).toBe(0);
  });

  test("a client that asks for nothing may ping for an hour", () => {
    const alone = serverOn(disk("to"));
    alone.passUntil(3_600 * S - 1);
    expect(alone.end).toBeUndefined();
    alone.passUntil(3_601 * S);
    expect(alone.session.outcome).toMatchObject({
      code: "NO_PROGRESS",
      text: expect.stringContaining("hour") as string,
    });
  });

  test("words about progress are none: only what moves the transfer counts", () => {
    const from = disk("from");
    from.plant("/a", new Uint8Array(10));
    const alone = new Alone(new ClientSession(host(), push(["a"]), 0), from);
    for (let at = 10; at < 60; at += 10) {
      alone.passUntil(at * S);
      alone.hear({ type: "progress", verifiedBytes: at, unwrittenBytes: 0 });
    }
    alone.passUntil(61 * S);
    expect(alone.session.outcome?.code).toBe("NO_PROGRESS");
  });

  test("a client that takes the result and does not say so had its transfer", () => {
    const alone = serverOn(disk("to"));
    alone.hear(REQUEST, { type: "entries-end", entries: 0, totalBytes: 0 });
    expect(alone.said.at(-1)?.type).toBe("result");
    alone.passUntil(61 * S);
    expect(alone.end).toEqual([undefined, 60 * S]);
  });
});

describe("legitimate quiet", () => {
  test("a disk that takes ten minutes for one operation is waited for, and the peer is told", () => {
    const to = disk("to");
    const alone = serverOn(to);
    alone.holdsDisk = true;
    alone.hear(REQUEST);
    alone.passUntil(600 * S);
    expect(alone.end).toBeUndefined();
    const working = alone.said.filter(({ type }) => type === "working").length;
    expect(working).toBeGreaterThanOrEqual(299);
    expect(working).toBeLessThanOrEqual(300);
    // The disk is back: the transfer goes on as if nothing had been.
    alone.holdsDisk = false;
    for (const { id, operation } of alone.held.splice(0))
      alone.session.handleDiskResult(id, to.perform(operation), alone.nowUs);
    alone.settle();
    alone.hear({ type: "entries-end", entries: 0, totalBytes: 0 });
    expect(alone.said.at(-1)?.type).toBe("result");
  });

  test("a client whose server says that it is working waits as long as that", () => {
    const from = disk("from");
    from.plant("/a", new Uint8Array(10));
    const alone = new Alone(new ClientSession(host(), push(["a"]), 0), from);
    for (let at = 2; at <= 1_000; at += 2) {
      alone.passUntil(at * S);
      alone.hear({ type: "working" });
    }
    expect(alone.end).toBeUndefined();
    alone.passUntil(2_000 * S);
    expect(alone.end).toEqual(["NO_PROGRESS", 1_060 * S]);
  });

  test("standard input that says nothing for an hour does not end the transfer", () => {
    let idleUntilUs = 0;
    const from = disk("from");
    const to = disk("to");
    const request: ClientRequest = {
      mode: "push-pipe",
      name: "p",
      destination: "",
      options: DEFAULT_OPTIONS,
    };
    let isFed = false;
    const pair: Pair = new Pair(from, to, request, {
      idleRounds: 3,
      onRound: ({ client, nowUs }) => {
        idleUntilUs = idleUntilUs === 0 ? nowUs + 3_600 * S : idleUntilUs;
        if (nowUs >= idleUntilUs && !isFed) {
          isFed = true;
          client.session.offerPipeBytes(new Uint8Array(1_000).fill(7));
          client.session.endPipe(nowUs);
        }
        return false;
      },
    });
    pair.run();
    const [client, server] = outcomes(pair);
    expect([client.code, server.code, isFed]).toEqual([undefined, undefined, true]);
    expect(to.tree().get("/p")?.length).toBe(1_000);
  });

  test("a reader that takes nothing for an hour does not end the transfer", () => {
    const server = disk("server");
    server.plant("/a", new Uint8Array(300_000).fill(3));
    let startUs = 0;
    let taken = 0;
    const pair = new Pair(
      disk("client"),
      server,
      { mode: "pull-pipe", path: "a" },
      {
        idleRounds: 3,
        onRound: ({ client, nowUs }) => {
          startUs = startUs === 0 ? nowUs : startUs;
          if (nowUs < startUs + 3_600 * S) return false;
          for (;;) {
            const bytes = client.session.takePipeBytes(nowUs);
            if (bytes === undefined) return false;
            taken += bytes.length;
          }
        },
      },
    );
    pair.run();
    expect([outcomes(pair)[0].code, taken]).toEqual([undefined, 300_000]);
  });
});
