import { describe, expect, test } from "vitest";
import { ERRORS } from "../../src/base/errors.ts";
import type { ErrorCode } from "../../src/base/errors.ts";
import { CHUNK_BYTES } from "../../src/base/limits.ts";
import { SeededRandom } from "../../src/base/random.ts";
import type { DiskOperation } from "../../src/files/disk.ts";
import { isLeftoverName } from "../../src/files/staging-name.ts";
import { DEFAULT_OPTIONS } from "../../src/transfer/transfer-options.ts";
import type { SimDisk } from "../../src/sim/disk.ts";
import type { ClientRequest } from "../../src/transfer/client-session.ts";
import { differences, disk, outcomes, Pair, published, pull, push } from "./pair.ts";

const random = new SeededRandom(3, "content");
const bytes = (size: number): Uint8Array => random.bytes(new Uint8Array(size));
const TREE = [
  ["/tree/a", bytes(10)],
  ["/tree/sub/b", bytes(2 * CHUNK_BYTES + 1)],
  ["/tree/sub/c", bytes(0)],
] as const;

const exit = (code: ErrorCode | undefined): number => (code === undefined ? 0 : ERRORS[code].exit);

function leftovers(of: SimDisk): string[] {
  return [...of.tree().keys()].filter((path) => isLeftoverName(path.split("/").at(-1) ?? ""));
}

interface Case {
  readonly name: string;
  readonly request: () => ClientRequest;
  readonly receiver: "client" | "server";
  readonly before?: readonly (readonly [string, Uint8Array])[];
}

const CASES: readonly Case[] = [
  { name: "push", request: () => push(["tree"]), receiver: "server" },
  { name: "pull", request: () => pull(["tree"]), receiver: "client" },
  {
    name: "overwriting push",
    request: () => push(["tree"], { options: { ...DEFAULT_OPTIONS, overwrite: true } }),
    receiver: "server",
    before: [["/tree/a", bytes(99)]],
  },
];

describe("each disk operation fails once", () => {
  for (const { name, request, receiver, before = [] } of CASES)
    for (const errno of ["EIO", "ENOSPC", "EACCES"])
      for (const side of ["client", "server"] as const)
        test(`${name}: ${errno} at every operation of the ${side}`, () => {
          let operations = 1;
          for (let k = 1; k <= operations; k++) {
            const from = disk("from");
            const to = disk("to");
            for (const [path, content] of TREE) from.plant(path, content);
            for (const [path, content] of before) to.plant(path, content);
            let count = 0;
            let failed: DiskOperation | undefined;
            const [clientDisk, serverDisk] = receiver === "server" ? [from, to] : [to, from];
            const onDisk = (at: string, operation: DiskOperation): string | undefined => {
              if (at !== side || ++count !== k) return undefined;
              failed = operation;
              // The system closes and unlocks whatever it says.
              if (/^(close|unlock)/.test(operation.kind))
                (side === "client" ? clientDisk : serverDisk).perform(operation);
              return errno;
            };
            const pair = new Pair(clientDisk, serverDisk, request(), { onDisk, seed: k });
            pair.run();
            if (failed === undefined) break;
            operations = k + 1;
            const label = `${k}: ${failed.kind}`;
            const [client, server] = outcomes(pair);
            const both = `${label} client ${client.code} server ${server.code}`;
            expect(exit(client.code), both).toBe(exit(server.code));
            expect([0, 3, 4, 5, 8], both).toContain(exit(client.code));
            expect(from.openHandles + to.openHandles, both).toBe(0);
            const wanted = new Map<string, Uint8Array>(TREE);
            const old = new Map(before);
            for (const [path, content] of published(to.tree())) {
              const isOld = old.has(path) && Buffer.compare(content, old.get(path) ?? content) === 0;
              const isNew = Buffer.compare(content, wanted.get(path) ?? new Uint8Array(7)) === 0;
              expect(isOld || isNew, `${both}: ${path} is neither old nor new`).toBe(true);
            }
            if (client.code === undefined)
              expect(differences(published(to.durableTree()), TREE), both).toEqual([]);
            // After success or a final failure nothing of ours stays, unless removing it was what failed.
            if ([0, 3].includes(exit(client.code)) && !/^(unlink|unlock|close|lock)/.test(failed.kind))
              expect(leftovers(to), both).toEqual([]);
            // The same command again: complete, or what was complete before is refused.
            const again = new Pair(clientDisk, serverDisk, request(), {});
            again.run();
            const [second] = outcomes(again);
            if (exit(client.code) === 5) expect(second.code, `${both}, again`).toBeUndefined();
            else
              expect([0, 3, 9], `${both}, again ${second.code} ${second.text}`).toContain(exit(second.code));
            expect(differences(published(to.tree()), TREE), `${both}, again`).toEqual([]);
            expect(from.openHandles + to.openHandles, `${both}, again`).toBe(0);
          }
          expect(operations).toBeGreaterThan(receiver === side ? 30 : 15);
        });
});
