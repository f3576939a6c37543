/** The main job through the built command line: files, trees, pipes, both ways, both families. */
import { createHash, randomBytes } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Scene, type Serving } from "./godwit.ts";

const HAS_IPV6 = Object.values(networkInterfaces()).some((list) =>
  list?.some(({ address }) => address === "::1"),
);

let scene: Scene;
let server: Serving;

beforeEach(async () => {
  scene = new Scene();
  mkdirSync(scene.path("inbox"));
  server = await scene.serve("server", "inbox", ["--open"]);
});

afterEach(() => scene.close());

const at = (path = ""): string => `${server.at}${path}`;
const sha256 = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

/** Names, kinds and contents below a directory. */
function tree(directory: string, prefix = ""): string[] {
  return readdirSync(directory, { withFileTypes: true })
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) return [`${prefix}${entry.name}/`, ...tree(path, `${prefix}${entry.name}/`)];
      return [`${prefix}${entry.name} ${sha256(path)}`];
    });
}

function makeTree(): string {
  const root = scene.path("tree");
  mkdirSync(join(root, "deep/er"), { recursive: true });
  mkdirSync(join(root, "empty"));
  writeFileSync(join(root, "zero"), "");
  writeFileSync(join(root, "one"), "1");
  writeFileSync(join(root, "chunk"), randomBytes(256 * 1024));
  writeFileSync(join(root, "chunk-and-one"), randomBytes(256 * 1024 + 1));
  writeFileSync(join(root, "deep/er/größe 日本.bin"), randomBytes(3_000_000));
  utimesSync(join(root, "one"), 1_000_000_000, 1_000_000_000);
  return root;
}

describe("trees", () => {
  test("push and pull give identical trees, times included, and nothing else is left", async () => {
    const root = makeTree();
    const sent = await scene.run("client", ["send", root, "--to", at(), "--accept-new", "--json"]);
    expect([sent.status, sent.stderr]).toEqual([0, ""]);
    await server.completed();
    expect(tree(scene.path("inbox/tree"))).toEqual(tree(root));
    expect(readdirSync(scene.path("inbox"))).toEqual(["tree"]);
    expect(statSync(scene.path("inbox/tree/one")).mtimeMs).toBe(1_000_000_000_000);
    expect(sent.events.at(-1)).toMatchObject({
      event: "result",
      result: "complete",
      exit: 0,
      files: 5,
      bytes: 1 + 262_144 + 262_145 + 3_000_000,
      errors: [],
    });

    const got = await scene.run("client", ["get", at("/tree"), "--into", scene.path("back")]);
    expect(got.status).toBe(0);
    expect(tree(scene.path("back/tree"))).toEqual(tree(root));
  });

  test("several sources go below a directory that the user names", async () => {
    writeFileSync(scene.path("a"), "a");
    writeFileSync(scene.path("b"), "b");
    const sent = await scene.run("client", ["send", "a", "b", "--to", at("/new/place"), "--accept-new"]);
    expect(sent.status).toBe(0);
    await server.completed();
    expect(tree(scene.path("inbox")).map((line) => line.split(" ")[0])).toEqual([
      "new/",
      "new/place/",
      "new/place/a",
      "new/place/b",
    ]);
  });

  test("links are skipped with a notice, and never followed", async () => {
    const root = makeTree();
    symlinkSync("/etc/passwd", join(root, "link"));
    const sent = await scene.run("client", ["send", root, "--to", at(), "--accept-new"]);
    expect(sent.status).toBe(0);
    expect(sent.stderr).toContain("skipped");
    expect(existsSync(scene.path("inbox/tree/link"))).toBe(false);
  });

  test("an existing file is refused, and replaced when told", async () => {
    writeFileSync(scene.path("a"), "new");
    writeFileSync(scene.path("inbox/a"), "old");
    const refused = await scene.run("client", ["send", "a", "--to", at(), "--accept-new", "--json"]);
    expect(refused.status).toBe(9);
    expect(refused.events.at(-1)).toMatchObject({ errors: [{ path: "a", code: "EXISTS" }] });
    expect(readFileSync(scene.path("inbox/a"), "utf8")).toBe("old");
    const replaced = await scene.run("client", ["send", "a", "--to", at(), "--overwrite"]);
    expect(replaced.status).toBe(0);
    expect(readFileSync(scene.path("inbox/a"), "utf8")).toBe("new");
  });
});

describe("pipes", () => {
  test("standard input of unknown length arrives as one file", async () => {
    const bytes = randomBytes(5_000_000);
    const sent = await scene.run(
      "client",
      ["send", "-", "--name", "stream.bin", "--to", at(), "--accept-new"],
      {
        input: bytes,
      },
    );
    expect([sent.status, sent.stderr.includes("verified 1 file")]).toEqual([0, true]);
    expect(readFileSync(scene.path("inbox/stream.bin")).equals(bytes)).toBe(true);
  });

  test("a file goes to standard output", async () => {
    const bytes = randomBytes(2_000_000);
    writeFileSync(scene.path("inbox/out.bin"), bytes);
    const got = await scene.run("client", ["get", at("/out.bin"), "--into", "-", "--accept-new"]);
    expect([got.status, got.stdout.equals(bytes)]).toEqual([0, true]);
  });
});

describe("the rest of the main job", () => {
  test("ls lists what a peer hands out", async () => {
    mkdirSync(scene.path("inbox/sub"));
    writeFileSync(scene.path("inbox/sub/file"), "12345");
    const listed = await scene.run("client", ["ls", at("/sub"), "--accept-new", "--json"]);
    expect(listed.status).toBe(0);
    const entries = listed.events.filter(({ event }) => event === "entry");
    expect(entries).toContainEqual(expect.objectContaining({ kind: "file", sizeBytes: 5 }));
  });

  test("ping measures round trips", async () => {
    const pinged = await scene.run("client", ["ping", at(), "--count", "2", "--accept-new", "--json"]);
    expect(pinged.status).toBe(0);
    expect(pinged.events.at(-1)).toMatchObject({ event: "result", sent: 2, received: 2, lossFraction: 0 });
  });

  test("id prints the fingerprint that the other side sees", async () => {
    const id = (await scene.run("client", ["id"])).stdout.toString("utf8").trim();
    await scene.run("client", ["ping", at(), "--count", "1", "--accept-new"]);
    expect((await server.event("peer-connected"))["peer"]).toMatchObject({ fingerprint: id });
  });

  test("serve --once ends with the transfer and its status", async () => {
    const once = await scene.serve("other", "inbox", ["--open", "--once"]);
    writeFileSync(scene.path("a"), "a");
    const sent = await scene.run("client", ["send", "a", "--to", once.at, "--accept-new"]);
    const ended = await once.ended;
    expect([sent.status, ended.status]).toEqual([0, 0]);
    expect(ended.events.at(-1)).toMatchObject({ event: "result", files: 1, exit: 0 });
  });

  test.skipIf(!HAS_IPV6)("IPv6", async () => {
    const { port } = await scene.serve("six", "inbox", ["--open", "--listen", "[::1]:0"]);
    writeFileSync(scene.path("a"), "six");
    const sent = await scene.run("client", ["send", "a", "--to", `[::1]:${port}/v6`, "--accept-new"]);
    expect(sent.status).toBe(0);
    expect(readFileSync(scene.path("inbox/v6/a"), "utf8")).toBe("six");
  });

  test("read-only and write-only servers refuse the other direction", async () => {
    const only = await scene.serve("ro", "inbox", ["--open", "--read-only"]);
    writeFileSync(scene.path("a"), "a");
    const sent = await scene.run("client", ["send", "a", "--to", only.at, "--accept-new"]);
    expect(sent.status).toBe(7);
    expect(sent.stderr).toContain("may not send files here");
  });
});
