/** Sources that change while they are sent, and the order in which things become durable. */
import { describe, expect, test } from "vitest";
import { CHUNK_BYTES } from "../../src/base/limits.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { isLeftoverName } from "../../src/files/staging-name.ts";
import { DEFAULT_OPTIONS } from "../../src/transfer/transfer-options.ts";
import { differences, disk, outcomes, Pair, push } from "./pair.ts";

const random = new SeededRandom(8, "content");
const bytes = (size: number): Uint8Array => random.bytes(new Uint8Array(size));

describe("a source that changes while it is sent", () => {
  const old = bytes(30 * CHUNK_BYTES + 100);
  const runs = (
    change: (from: ReturnType<typeof disk>, at: SeededRandom) => void,
    acceptable: (content: Uint8Array) => boolean,
  ): string[] => {
    const codes: string[] = [];
    for (let run = 0; run < 24; run++) {
      const moment = new SeededRandom(run, "moment");
      const from = disk("from");
      const to = disk("to");
      from.plant("/f", old);
      const at = 1_000_000 + moment.integer(0, 12_000);
      let isDone = false;
      const pair = new Pair(from, to, push(["f"]), {
        seed: run,
        onRound: ({ nowUs }) => {
          if (nowUs >= at && !isDone) {
            isDone = true;
            change(from, moment);
          }
          return false;
        },
      });
      pair.run();
      const [client, server] = outcomes(pair);
      const published = to.tree().get("/f");
      if (published === undefined) {
        expect(client.code, `run ${run}: ${client.text}`).toBe("SOURCE_CHANGED");
        expect(server.code).toBe("SOURCE_CHANGED");
        expect([...to.tree().keys()], `run ${run}`).toEqual([]);
      } else {
        expect(client.code, client.text).toBeUndefined();
        expect(acceptable(published), `run ${run}: a mixture`).toBe(true);
      }
      codes.push(client.code ?? "complete");
    }
    return codes;
  };
  const isOld = (content: Uint8Array): boolean => Buffer.compare(content, old) === 0;

  test("rewritten in place: exit 8, or the old or the new content entire", () => {
    const fresh = bytes(old.length);
    const codes = runs(
      (from) => from.scribble("/f", 0, fresh),
      (content) => isOld(content) || Buffer.compare(content, fresh) === 0,
    );
    expect(codes).toContain("SOURCE_CHANGED");
  });

  test("one byte in the middle", () => {
    const changed = old.slice();
    changed[15 * CHUNK_BYTES] ^= 1;
    const codes = runs(
      (from) =>
        from.scribble("/f", 15 * CHUNK_BYTES, changed.subarray(15 * CHUNK_BYTES, 15 * CHUNK_BYTES + 1)),
      (content) => isOld(content) || Buffer.compare(content, changed) === 0,
    );
    expect(codes).toContain("SOURCE_CHANGED");
    expect(codes).toContain("complete");
  });

  test("appended to: the length when it was offered is what is sent", () => {
    const codes = runs((from) => from.scribble("/f", old.length, bytes(1_000)), isOld);
    expect(new Set(codes)).toEqual(new Set(["complete"]));
  });

  test("touched only: complete, after a second look", () => {
    const codes = runs((from) => from.scribble("/f", 5, old.subarray(5, 6)), isOld);
    expect(new Set(codes)).toEqual(new Set(["complete"]));
  });
});

describe("publish order, contract §2", () => {
  for (const overwrite of [false, true])
    test(overwrite ? "with --overwrite: one rename" : "without: link, then unlink", () => {
      const from = disk("from");
      const to = disk("to");
      const content = bytes(3 * CHUNK_BYTES);
      from.plant("/dir/f", content);
      if (overwrite) to.plant("/dir/f", bytes(5));
      const options = { ...DEFAULT_OPTIONS, overwrite };
      let committedAt = 0;
      const pair = new Pair(from, to, push(["dir"], { options }), {
        onControl: (side, control) => {
          if (
            side === "server" &&
            committedAt === 0 &&
            pair.server.events.some((e) => e.type === "file-committed")
          )
            committedAt = pair.operations.length;
          return control;
        },
      });
      pair.run();
      expect(outcomes(pair).map(({ code }) => code)).toEqual([undefined, undefined]);
      const steps = pair.operations.filter(({ side }) => side === "server").map(({ operation }) => operation);
      const isStaging = (path: readonly string[]): boolean => path.at(-1)?.endsWith(".part") === true;
      const create = steps.findIndex((o) => o.kind === "create-staging" && isStaging(o.path));
      const staged = pair.operations.find(
        ({ operation: o, side }) => side === "server" && o.kind === "create-staging" && isStaging(o.path),
      )?.result;
      const handle = staged?.ok === true && "file" in staged ? staged.file : -1;
      const last = (kind: string): number =>
        steps.findLastIndex((o) => o.kind === kind && "file" in o && o.file === handle);
      const sync = last("sync-file");
      const name = steps.findIndex(
        (o) => o.kind === (overwrite ? "rename" : "link") && o.to.join("/") === "dir/f",
      );
      const directory = (path: string): number =>
        steps.findIndex((o, i) => i > name && o.kind === "sync-directory" && o.path.join("/") === path);
      expect(create).toBeGreaterThan(-1);
      expect(last("write")).toBeGreaterThan(create);
      expect(sync).toBeGreaterThan(last("write"));
      expect(name).toBeGreaterThan(last("close-file"));
      expect(last("close-file")).toBeGreaterThan(sync);
      expect(directory("dir")).toBeGreaterThan(name);
      // Nothing is said before the name is durable.
      const durable = pair.operations.findIndex(({ operation }) => operation === steps[directory("dir")]);
      expect(committedAt).toBeGreaterThan(durable);
      if (!overwrite) {
        const unlink = steps.findIndex((o) => o.kind === "unlink" && isStaging(o.path));
        expect(unlink).toBeGreaterThan(name);
        expect(directory("dir")).toBeGreaterThan(unlink);
      }
      // Beside the final name, and only there.
      const made = steps[create];
      expect(made.kind === "create-staging" && made.path.slice(0, -1).join("/")).toBe("dir");
      expect(made.kind === "create-staging" && isLeftoverName(made.path.at(-1) ?? "")).toBe(true);
      expect(differences(to.tree(), [["/dir/f", content]])).toEqual([]);
    });
});
