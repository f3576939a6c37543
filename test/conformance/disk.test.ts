/**
 * The simulated disk against the real one: random operations on both must give the same results and
 * leave the same tree. The simulated disk is worth something only as far as this holds.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { DiskOperation, DiskResult } from "../../src/files/disk.ts";
import { NodeDisk } from "../../src/node/disk/node-disk.ts";
import { SimDisk } from "../../src/sim/disk.ts";

/** An operation whose handle is "the n-th open one": handles differ between the disks. */
type Step =
  | { readonly do: "open-source" | "open-staging" | "create-staging"; readonly path: string[] }
  | {
      readonly do: "make-directory" | "remove-directory" | "unlink" | "lstat" | "sync-directory" | "list";
      readonly path: string[];
    }
  | { readonly do: "make-symlink"; readonly path: string[]; readonly target: string }
  | { readonly do: "link" | "rename"; readonly from: string[]; readonly to: string[] }
  | {
      readonly do: "write";
      readonly file: number;
      readonly offset: number;
      readonly length: number;
      readonly fill: number;
    }
  | { readonly do: "read"; readonly file: number; readonly offset: number; readonly length: number }
  | { readonly do: "truncate"; readonly file: number; readonly size: number }
  | { readonly do: "sync-file" | "sync-data" | "stat-file" | "close-file"; readonly file: number };

const name = fc.constantFrom("a", "b", "c");
const path = fc.array(name, { minLength: 1, maxLength: 3 });
const file = fc.nat(3);
const place = fc.integer({ min: 0, max: 9_000 });

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("create-staging" as const), path }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constantFrom("open-source" as const, "open-staging" as const), path }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("make-directory" as const), path }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom("remove-directory", "unlink", "lstat", "sync-directory", "list"),
      path,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("make-symlink" as const), path, target: name }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom("link" as const, "rename" as const), from: path, to: path }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("write" as const),
      file,
      offset: place,
      length: fc.integer({ min: 0, max: 5_000 }),
      fill: fc.integer({ min: 1, max: 255 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("read" as const), file, offset: place, length: place }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("truncate" as const), file, size: place }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom("sync-file", "sync-data", "stat-file", "close-file"),
      file,
    }),
  },
);

/** One disk with the handles that were opened on it. */
class Side {
  readonly files: number[] = [];
  root = -1;
  private readonly perform: (operation: DiskOperation) => Promise<DiskResult>;

  constructor(perform: (operation: DiskOperation) => Promise<DiskResult>) {
    this.perform = perform;
  }

  async open(location: string): Promise<void> {
    const result = await this.ask({ kind: "open-root", location, create: true });
    this.root = result["root"] as number;
  }

  /** Does a step and returns what both disks must agree on. */
  async run(step: Step): Promise<unknown> {
    const { root } = this;
    switch (step.do) {
      case "open-source":
      case "open-staging":
      case "create-staging": {
        const result = await this.ask({ kind: step.do, root, path: step.path });
        if (result.ok) this.files.push(result["file"] as number);
        return comparable(result);
      }
      case "list": {
        const opened = await this.ask({ kind: "open-directory", root, path: step.path });
        if (!opened.ok) return comparable(opened);
        const directory = opened["directory"] as number;
        const result = await this.ask({ kind: "read-directory", directory, maxEntries: 100 });
        await this.ask({ kind: "close-directory", directory });
        const entries = result["entries"] as { name: string; kind: string }[];
        return new Set(entries.map((entry) => `${entry.name} ${entry.kind}`));
      }
      case "make-directory":
        return comparable(await this.ask({ kind: step.do, root, path: step.path, mode: 0o755 }));
      case "make-symlink":
        return comparable(await this.ask({ kind: step.do, root, path: step.path, target: step.target }));
      case "link":
      case "rename":
        return comparable(await this.ask({ kind: step.do, root, from: step.from, to: step.to }));
      case "remove-directory":
      case "unlink":
      case "lstat":
      case "sync-directory":
        return comparable(await this.ask({ kind: step.do, root, path: step.path }));
      default:
        return this.runOnFile(step);
    }
  }

  private async runOnFile(step: Step & { readonly file: number }): Promise<unknown> {
    const file = this.files[step.file];
    if (file === undefined) return "none";
    switch (step.do) {
      case "write": {
        const bytes = new Uint8Array(step.length).fill(step.fill);
        return comparable(await this.ask({ kind: "write", file, offset: step.offset, bytes }));
      }
      case "read": {
        const target = new Uint8Array(step.length);
        const result = await this.ask({ kind: "read", file, offset: step.offset, target });
        return [comparable(result), target.join()];
      }
      case "truncate":
        return comparable(await this.ask({ kind: "truncate", file, sizeBytes: step.size }));
      case "close-file":
        this.files.splice(step.file, 1);
        return comparable(await this.ask({ kind: "close-file", file }));
      case "sync-file":
      case "sync-data":
      case "stat-file":
        return comparable(await this.ask({ kind: step.do, file }));
      default:
        throw new Error("not a step on a file");
    }
  }

  async end(): Promise<void> {
    for (const file of this.files) await this.ask({ kind: "close-file", file });
    await this.ask({ kind: "close-root", root: this.root });
  }

  private async ask(operation: DiskOperation): Promise<DiskResult & Record<string, unknown>> {
    return (await this.perform(operation)) as DiskResult & Record<string, unknown>;
  }
}

function comparable(result: DiskResult & Record<string, unknown>): unknown {
  if (!result.ok) return result["errno"];
  const facts = result["facts"] as { kind: string; sizeBytes: number; links: number } | undefined;
  if (facts === undefined) return [result["lengthBytes"]];
  return facts.kind === "file" ? [facts.kind, facts.sizeBytes, facts.links] : [facts.kind];
}

function realTree(directory: string, prefix = ""): [string, string][] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry): [string, string][] => {
    const at = `${prefix}/${entry.name}`;
    if (entry.isDirectory()) return realTree(join(directory, entry.name), at);
    return entry.isFile() ? [[at, readFileSync(join(directory, entry.name)).toString("hex")]] : [];
  });
}

/** A file takes the name of the directory that it is in: rarely found by chance. */
const ONTO_ITS_PARENT: Step[] = [
  { do: "make-directory", path: ["b"] },
  { do: "create-staging", path: ["b", "a"] },
  { do: "rename", from: ["b", "a"], to: ["b"] },
];

test("the simulated disk answers as the real one does", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const directory = mkdtempSync(join(tmpdir(), "godwit-disks-"));
      expect(statSync(directory).isDirectory()).toBe(true);
      const waiting = new Map<number, (result: DiskResult) => void>();
      const node = new NodeDisk((id, result) => waiting.get(id)?.(result));
      let nextId = 1;
      const real = new Side(
        (operation) =>
          new Promise((resolve) => {
            const id = nextId++;
            waiting.set(id, resolve);
            node.perform({ id, operation });
          }),
      );
      const simulated = new SimDisk(1, "x", () => 1_000_000);
      const sim = new Side((operation) => Promise.resolve(simulated.perform(operation)));
      try {
        await real.open(directory);
        await sim.open("/");
        for (const one of steps) expect([one, await sim.run(one)]).toEqual([one, await real.run(one)]);
        const tree = [...simulated.tree()].map(([at, bytes]) => [at, Buffer.from(bytes).toString("hex")]);
        expect(new Map(tree as [string, string][])).toEqual(new Map(realTree(directory)));
      } finally {
        await real.end();
        await sim.end();
        rmSync(directory, { recursive: true });
      }
      expect(simulated.openHandles).toBe(0);
    }),
    { numRuns: 300, examples: [[ONTO_ITS_PARENT]] },
  );
});
