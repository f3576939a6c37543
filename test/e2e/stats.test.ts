/** `--stats` and the path in the JSON result, through the built command line. */
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Scene, type Ended } from "./godwit.ts";

let scene: Scene;

beforeEach(() => {
  scene = new Scene();
  mkdirSync(scene.path("inbox"));
  writeFileSync(scene.path("file.bin"), randomBytes(2_000_000));
});

afterEach(() => scene.close());

/** One transfer with more options of the sender: how it and the server ended. */
async function send(...more: readonly string[]): Promise<{ client: Ended; server: Ended }> {
  const server = await scene.serve("server", "inbox", ["--open", "--once"]);
  const client = await scene.run("client", ["send", "file.bin", "--to", server.at, "--accept-new", ...more]);
  expect(client.status).toBe(0);
  return { client, server: await server.ended };
}

test("--stats names what held the rate, without endless fractions", async () => {
  const { client } = await send("--stats");
  const said = client.stdout.toString() + client.stderr;
  expect(said).toMatch(/held by {5}\S/);
  expect(said).toMatch(/round trip {2}\d+\.\d+ ms at least/);
  expect(said).not.toMatch(/\d\.\d{4}/);
});

test("the JSON result holds the path with its curve, in whole numbers", async () => {
  const { client } = await send("--json");
  const path = client.events.at(-1)?.["path"] as Record<string, unknown>;
  expect(path["packetsSent"]).toBeGreaterThan(0);
  expect(Number.isInteger(path["pacingRateBytesPerSecond"])).toBe(true);
  expect(path["busyFraction"]).toBeGreaterThan(0);
  const history = path["history"] as Record<string, number>[];
  expect(history.length).toBeGreaterThan(0);
  expect(history.every((sample) => Object.values(sample).every(Number.isInteger))).toBe(true);
});

test("serve tells the path of each transfer, too, and what it can of the limit", async () => {
  const { server } = await send("--rate", "20mbit");
  for (const name of ["transfer-ended", "result"]) {
    const path = server.events.find(({ event }) => event === name)?.["path"] as Record<string, unknown>;
    expect(path["limit"]).toBe("other side");
    expect((path["history"] as unknown[]).length).toBeGreaterThan(0);
    expect(path["busyFraction"]).toBeGreaterThan(0);
  }
});

test("send to many tells the path to each receiver", async () => {
  const { client } = await send("--json", "--quorum", "1");
  const peers = client.events.at(-1)?.["peers"] as { path: Record<string, unknown> }[];
  expect(peers).toHaveLength(1);
  expect((peers[0].path["history"] as unknown[]).length).toBeGreaterThan(0);
  expect(peers[0].path["busyFraction"]).toBeGreaterThan(0);
});
