import { describe, expect, test } from "vitest";
import { CHUNK_BYTES } from "../../src/base/limits.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { DEFAULT_OPTIONS } from "../../src/transfer/transfer-options.ts";
import { differences, disk, outcomes, Pair } from "./pair.ts";

const random = new SeededRandom(4, "content");
const bytes = (size: number): Uint8Array => random.bytes(new Uint8Array(size));

describe("pipes", () => {
  for (const size of [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 20 * CHUNK_BYTES + 9])
    test(`a push of ${size} bytes of unknown length, fed in odd pieces, with little memory`, () => {
      const content = bytes(size);
      const to = disk("to");
      let fed = 0;
      let hasEnded = false;
      const pair = new Pair(
        disk("from"),
        to,
        { mode: "push-pipe", name: "piped", destination: "deep/er", options: DEFAULT_OPTIONS },
        {
          loss: 0.05,
          supplyBytes: 4 * CHUNK_BYTES,
          onRound: ({ client, random, nowUs }) => {
            const part = content.subarray(fed, fed + random.integer(1, 100_000));
            fed += client.session.offerPipeBytes(part);
            if (fed === size && !hasEnded) {
              hasEnded = true;
              client.session.endPipe(nowUs);
            }
            return false;
          },
        },
      );
      pair.run();
      expect(outcomes(pair).map(({ code, files, bytes }) => [code, files, bytes])).toEqual([
        [undefined, 1, size],
        [undefined, 1, size],
      ]);
      expect(differences(to.tree(), [["/deep/er/piped", content]])).toEqual([]);
    });

  for (const size of [0, 1, CHUNK_BYTES, 20 * CHUNK_BYTES + 9])
    test(`a pull of ${size} bytes into a stream comes in order`, () => {
      const content = bytes(size);
      const from = disk("from");
      from.plant("/dir/file", content);
      const parts: Uint8Array[] = [];
      const pair = new Pair(
        disk("to"),
        from,
        { mode: "pull-pipe", path: "dir/file" },
        {
          loss: 0.1,
          windowBytes: 3 * CHUNK_BYTES,
          onRound: ({ client, nowUs, random }) => {
            if (random.chance(0.3)) {
              const part = client.session.takePipeBytes(nowUs);
              if (part !== undefined) parts.push(part);
            }
            return false;
          },
        },
      );
      pair.run();
      expect(outcomes(pair).map(({ code }) => code)).toEqual([undefined, undefined]);
      expect(Buffer.compare(Buffer.concat(parts), content)).toBe(0);
    });

  test("a directory or a missing file cannot become a stream", () => {
    const from = disk("from");
    from.plant("/dir/a", bytes(10));
    const code = (path: string): string | undefined => {
      const pair = new Pair(disk("to"), from, { mode: "pull-pipe", path });
      pair.run();
      return pair.client.session.outcome?.code;
    };
    expect(code("nothing")).toBe("SOURCE_MISSING");
    expect(code("dir")).toBe("DECLINED");
    expect(code("../x")).toBe("UNSAFE_NAME");
  });
});

describe("list", () => {
  test("names what a directory holds, one level deep, and a file by itself", () => {
    const from = disk("from");
    from.plant("/dir/a", bytes(10));
    from.plant("/dir/sub/b", bytes(11));
    from.plantSpecial("/dir/link", "a");
    const listed = (path: string): string[] => {
      const pair = new Pair(disk("to"), from, { mode: "list", paths: [path] });
      pair.run();
      expect(pair.client.session.outcome?.code).toBeUndefined();
      return pair.client.session
        .takeListed()
        .map(({ path, kind, sizeBytes }) => `${path} ${kind} ${sizeBytes}`)
        .sort();
    };
    expect(listed("")).toEqual(["dir directory 0"]);
    expect(listed("dir")).toEqual(["a file 10", "link symlink 0", "sub directory 0"]);
    expect(listed("dir/sub/b")).toEqual(["b file 11"]);
  });
});
