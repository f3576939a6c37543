import { createSocket } from "node:dgram";
import { once } from "node:events";
import { expect, test } from "vitest";
import { Outbox } from "../../classic/machine.ts";
import type { ClassicMachine, ClassicOutcome, PeerAddress, Transmit } from "../../classic/machine.ts";
import { GodwitError } from "../../base/errors.ts";
import { formatPeer, localBinding, resolvePeer, runDatagramMachine } from "./datagram-runner.ts";

/** Sends `count` numbered datagrams to its peer, or sends back what it gets until it has had `count`. */
class Counting implements ClassicMachine {
  outcome: ClassicOutcome | undefined;
  readonly heard: string[] = [];
  private readonly outbox = new Outbox();
  private readonly count: number;

  constructor(count: number, peer?: PeerAddress) {
    this.count = count;
    if (peer !== undefined) for (let i = 0; i < count; i++) this.outbox.send(peer, Buffer.from(String(i)));
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress): void {
    this.heard.push(Buffer.from(bytes).toString());
    this.outbox.send(from, bytes.slice());
    if (this.heard.length === this.count) this.outcome = { result: "complete" };
  }

  handleTimeout(): void {
    this.handleStop();
  }

  handleStop(): void {
    this.outcome ??= { result: "failed", error: new GodwitError("INTERRUPTED", "stopped") };
  }

  nextTimeoutUs(): number | undefined {
    return undefined;
  }

  pollTransmit(): Transmit | undefined {
    return this.outbox.pollTransmit();
  }

  takeEvents(): readonly [] {
    return [];
  }
}

test("more datagrams than may be pending are all sent, and the last answer leaves before the end", async () => {
  const machine = new Counting(200);
  const answers: string[] = [];
  let listening: (address: string) => void = () => undefined;
  const address = new Promise<string>((resolve) => {
    listening = resolve;
  });
  const run = runDatagramMachine(machine, {
    binding: { host: "127.0.0.1", port: 0 },
    onListening: listening,
  });
  const peer = createSocket("udp4");
  peer.on("message", (bytes) => answers.push(bytes.toString()));
  peer.bind(0, "127.0.0.1");
  await once(peer, "listening");
  const port = Number((await address).split(":")[1]);
  const all = Array.from({ length: 200 }, (_, i) => String(i));
  for (const text of all) peer.send(text, port, "127.0.0.1");
  expect(await run).toEqual({ result: "complete" });
  while (answers.length < 200) await once(peer, "message");
  expect(machine.heard).toEqual(all);
  expect(answers).toEqual(all);
  peer.close();
});

test("an aborted signal stops the machine, before or during the run", async () => {
  const signal = AbortSignal.abort();
  const binding = { host: "127.0.0.1", port: 0 };
  expect(await runDatagramMachine(new Counting(1), { binding, signal })).toMatchObject({ result: "failed" });
  const controller = new AbortController();
  const run = runDatagramMachine(new Counting(1), {
    binding,
    signal: controller.signal,
    onListening: () => controller.abort(),
  });
  expect(await run).toMatchObject({ result: "failed", error: { code: "INTERRUPTED" } });
});

test("a port in use is said so", async () => {
  const other = createSocket("udp4");
  other.bind(0, "127.0.0.1");
  await once(other, "listening");
  const binding = { host: "127.0.0.1", port: other.address().port };
  await expect(runDatagramMachine(new Counting(1), { binding })).rejects.toMatchObject({
    code: "PORT_IN_USE",
    exit: 2,
  });
  other.close();
});

test("addresses", async () => {
  expect(formatPeer("::ffff:192.0.2.1", 5)).toBe("192.0.2.1:5");
  expect(formatPeer("2001:db8::1", 5)).toBe("[2001:db8::1]:5");
  expect(await resolvePeer("::1", 7)).toBe("[::1]:7");
  expect(localBinding(["192.0.2.1:5"])).toEqual({ host: "0.0.0.0", port: 0 });
  expect(localBinding(["192.0.2.1:5", "[::1]:7"])).toEqual({ port: 0 });
  await expect(resolvePeer("does-not-exist.invalid", 1)).rejects.toMatchObject({ code: "NAME_NOT_RESOLVED" });
});
