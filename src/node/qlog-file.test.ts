import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Connection } from "../transport/connection.ts";
import { QlogDirectory } from "./qlog-file.ts";

test("a log that cannot be written keeps 4 Mi characters and counts what it leaves out", async () => {
  const directory = mkdtempSync(join(tmpdir(), "godwit-qlog-"));
  const written = (): string =>
    readdirSync(directory)
      .map((name) => readFileSync(join(directory, name), "utf8"))
      .join("");
  try {
    const handshake: { hash?: Uint8Array } = {};
    const connection = {
      get handshakeHash() {
        return handshake.hash;
      },
      setPacketEvents: () => undefined,
    } as unknown as Connection;
    const reasons: string[] = [];
    let passedOn = 0;
    const log = new QlogDirectory(directory, "test", (reason) => void reasons.push(reason));
    const handle = log.follow(connection, "client", () => void passedOn++);
    // Ten records of a million characters: four and the one that crosses the limit are kept, five are not.
    for (let i = 0; i < 10; i++)
      handle({ type: "transfer-failed", code: "PEER_GONE", text: "y".repeat(1_000_000) });
    handshake.hash = new Uint8Array(64).fill(7);
    handle({ type: "connection-closed", code: undefined, reason: "", initiatedBy: "peer" });
    await expect.poll(written, { timeout: 240_000 }).toContain("5 events are missing: the disk was too slow");
    expect(written().match(/y{1000000}/g)).toHaveLength(5);
    expect([passedOn, reasons]).toEqual([11, []]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
