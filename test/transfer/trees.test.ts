import { describe, expect, test } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { CHUNK_BYTES } from "../../src/base/limits.ts";
import { differences, published, disk, outcomes, Pair, pull, push } from "./pair.ts";

const random = new SeededRandom(11, "content");
const bytes = (size: number): Uint8Array => random.bytes(new Uint8Array(size));

/** Every size at which something begins or ends. */
const TREE: readonly [path: string, content: Uint8Array][] = [
  ["tree/empty", bytes(0)],
  ["tree/one", bytes(1)],
  ["tree/a/below", bytes(CHUNK_BYTES - 1)],
  ["tree/a/chunk", bytes(CHUNK_BYTES)],
  ["tree/a/b/above", bytes(CHUNK_BYTES + 1)],
  ["tree/a/b/c/three", bytes(3 * CHUNK_BYTES)],
  ["tree/big", bytes(9 * CHUNK_BYTES + 77)],
];

const EXPECTED = TREE.map(([path, content]) => [`/${path}`, content] as const);

describe("trees", () => {
  for (const loss of [0, 0.1])
    test(`push with loss ${loss}`, () => {
      const from = disk("from");
      const to = disk("to");
      for (const [path, content] of TREE) from.plant(`/${path}`, content);
      from.plantDirectory("/tree/nothing/here");
      const pair = new Pair(from, to, push(["tree"]), { loss, seed: 5 });
      pair.run();
      const [client, server] = outcomes(pair);
      expect(client.text).toBe("7 files complete");
      expect(client.code).toBeUndefined();
      expect(server.code).toBeUndefined();
      expect(differences(published(to.durableTree()), EXPECTED)).toEqual([]);
      expect(differences(to.tree(), EXPECTED)).toEqual([]);
      expect(from.openHandles).toBe(0);
      expect(to.openHandles).toBe(0);
    });

  test("pull", () => {
    const from = disk("from");
    const to = disk("to");
    for (const [path, content] of TREE) from.plant(`/${path}`, content);
    const pair = new Pair(to, from, pull(["tree"]), { loss: 0.05 });
    pair.run();
    const [client, server] = outcomes(pair);
    expect(client.text).toBe("7 files complete");
    expect(server.code).toBeUndefined();
    expect(differences(published(to.durableTree()), EXPECTED)).toEqual([]);
    expect(differences(to.tree(), EXPECTED)).toEqual([]);
  });
});
