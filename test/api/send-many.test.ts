/** `sendToMany` as a program uses it. */
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sendToMany, serve, type Server } from "../../src/index.ts";

let directory: string;
let servers: Server[];
const path = (...parts: string[]): string => join(directory, ...parts);

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "godwit-many-"));
  servers = await Promise.all(
    ["a", "b", "c"].map((name) => {
      mkdirSync(path(name));
      return serve({
        directory: path(name),
        listen: "127.0.0.1:0",
        open: name !== "c",
        home: path(`home-${name}`),
      });
    }),
  );
});

afterEach(async () => {
  await Promise.all(servers.map((server) => server.close()));
  rmSync(directory, { recursive: true, force: true });
});

const targets = (): string[] => servers.map(({ port }) => `127.0.0.1:${port}`);

test("a verdict for each receiver, told once and listed in the order they were named", async () => {
  const film = randomBytes(2_000_000);
  writeFileSync(path("film"), film);
  const to = targets();
  const transfer = sendToMany(path("film"), {
    to: [...to, to[0]],
    acceptNew: true,
    home: path("sender"),
    receipt: true,
  });
  const told: string[] = [];
  for await (const update of transfer) if (update.type === "receiver-ended") told.push(update.result.verdict);
  const result = await transfer.result;
  expect(result).toMatchObject({
    result: "partial",
    exit: 3,
    completeReceivers: 2,
    sourceReadBytes: 2_000_000,
    sourceRereadBytes: 0,
  });
  expect(result.receivers.map(({ target, verdict, exit }) => [target, verdict, exit])).toEqual([
    [to[0], "verified", 0],
    [to[1], "verified", 0],
    [to[2], "refused", 7],
  ]);
  expect(result.receivers.map(({ receipt }) => receipt !== undefined)).toEqual([true, true, false]);
  expect(result.receivers[0].fingerprint).toBe(servers[0].fingerprint);
  expect(told.length).toBe(3);
  for (const name of ["a", "b"]) expect(readFileSync(path(name, "film")).equals(film)).toBe(true);
});

test("what cannot be begun rejects: no receivers, a missing source, a code or a pin for many", async () => {
  writeFileSync(path("film"), "film");
  const run = (options: object): Promise<unknown> =>
    sendToMany(path("film"), { to: targets(), acceptNew: true, home: path("sender"), ...options }).result;
  await expect(run({ to: [] })).rejects.toMatchObject({ code: "USAGE" });
  await expect(run({ quorum: "4" })).rejects.toMatchObject({ code: "USAGE" });
  await expect(run({ code: "a-b-c-d" })).rejects.toMatchObject({ code: "USAGE" });
  await expect(run({ pin: servers[0].fingerprint })).rejects.toMatchObject({ code: "USAGE" });
  await expect(
    sendToMany(path("missing"), { to: targets(), home: path("sender") }).result,
  ).rejects.toMatchObject({ code: "SOURCE_MISSING" });
});

test("a signal ends it: every receiver has a verdict", async () => {
  writeFileSync(path("film"), randomBytes(1_000_000));
  const options = { to: targets(), acceptNew: true, home: path("sender"), signal: AbortSignal.abort() };
  const result = await sendToMany(path("film"), options).result;
  expect(result.exit).toBe(130);
  expect(new Set(result.receivers.map(({ verdict }) => verdict))).toEqual(new Set(["stopped"]));
});
