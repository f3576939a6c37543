/** `--stats` and the path in the JSON result, through the built command line. */
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Scene } from "./godwit.ts";

let scene: Scene;

beforeEach(() => {
  scene = new Scene();
  mkdirSync(scene.path("inbox"));
  writeFileSync(scene.path("file.bin"), randomBytes(2_000_000));
});

afterEach(() => scene.close());

/** One transfer with more options of the sender; what it and the server said. */
async function send(
  ...more: readonly string[]
): Promise<{ stdout: string; stderr: string; serverOutput: string }> {
  const server = scene.start("server", [
    "serve",
    scene.path("inbox"),
    "--listen",
    "127.0.0.1:0",
    "--open",
    "--once",
    "--json",
  ]);
  const { port } = await server.event("listening");
  const to = `127.0.0.1:${String(port)}`;
  const ended = await scene.run("client", ["send", "file.bin", "--to", to, "--accept-new", ...more]);
  expect(ended.status).toBe(0);
  const { stdout } = await server.ended;
  return { stdout: ended.stdout.toString(), stderr: ended.stderr, serverOutput: stdout.toString() };
}

test("--stats names what held the rate, without endless fractions", async () => {
  const { stdout, stderr } = await send("--stats");
  const said = stdout + stderr;
  expect(said).toMatch(/held by {5}\S/);
  expect(said).toMatch(/round trip {2}\d+\.\d+ ms at least/);
  expect(said).not.toMatch(/\d\.\d{4}/);
});

test("the JSON result holds the path with its curve, in whole numbers", async () => {
  const { stdout } = await send("--json");
  const { path } = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "") as { path: Record<string, unknown> };
  expect(path["packetsSent"]).toBeGreaterThan(0);
  expect(Number.isInteger(path["pacingRateBytesPerSecond"])).toBe(true);
  expect(path["busyFraction"]).toBeGreaterThan(0);
  const history = path["history"] as Record<string, number>[];
  expect(history.length).toBeGreaterThan(0);
  expect(history.every((sample) => Object.values(sample).every(Number.isInteger))).toBe(true);
});

test("serve tells the path of each transfer, too, and what it can of the limit", async () => {
  const { serverOutput } = await send("--rate", "20mbit");
  const ended = serverOutput
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  for (const name of ["transfer-ended", "result"]) {
    const path = ended.find(({ event }) => event === name)?.["path"] as Record<string, unknown>;
    expect(path["limit"]).toBe("other side");
    expect((path["history"] as unknown[]).length).toBeGreaterThan(0);
    expect(path["busyFraction"]).toBeGreaterThan(0);
  }
});

test("send to many tells the path to each receiver", async () => {
  const { stdout } = await send("--json", "--quorum", "1");
  const { peers } = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "") as {
    peers: { path: Record<string, unknown> }[];
  };
  expect(peers).toHaveLength(1);
  expect((peers[0].path["history"] as unknown[]).length).toBeGreaterThan(0);
  expect(peers[0].path["busyFraction"]).toBeGreaterThan(0);
});
