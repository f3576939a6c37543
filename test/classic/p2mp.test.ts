import { expect, test } from "vitest";
import { P2mpReceiver } from "../../src/classic/p2mp/receiver.ts";
import { P2mpSender } from "../../src/classic/p2mp/sender.ts";
import { ENCODINGS } from "../../src/classic/p2mp/wire.ts";
import type { EncodingName } from "../../src/classic/p2mp/wire.ts";
import { describeClassicSystem, SERVER } from "../conformance/classic.suite.ts";
import type { ClassicSystem } from "../conformance/classic.suite.ts";
import { memorySource, MemoryStore } from "../support/classic-memory.ts";

function system(name: EncodingName, lossProbability: number): ClassicSystem {
  const encoding = ENCODINGS[name];
  return {
    name: `p2mp ${name}, P = ${lossProbability}`,
    create: (content, random) => {
      const store = new MemoryStore();
      const server = new P2mpReceiver({
        encoding,
        createSink: () => store.create("out"),
        lossProbability,
        random: () => random.float(),
        ...(name === "ascii" ? { expectedBytes: content.length } : {}),
      });
      const client = new P2mpSender({
        encoding,
        receivers: [SERVER],
        source: memorySource(content),
        segmentBytes: 500,
      });
      return { server, client, published: () => store.files.get("out"), openSinks: () => store.openSinks };
    },
    sizes: [...(name === "binary" ? [0] : []), 1, 499, 500, 501, 1_000, 20_001],
    badNetworkBytes: 6_300,
    clientConfirms: true,
    limitUs: 600_000_000,
  };
}

describeClassicSystem(system("ascii", 0));
describeClassicSystem(system("ascii", 0.3));
describeClassicSystem(system("binary", 0));
describeClassicSystem(system("binary", 0.3));

test("an empty file on the wire without an end is refused at once", () => {
  expect(
    () =>
      new P2mpSender({
        encoding: ENCODINGS.ascii,
        receivers: [SERVER],
        source: memorySource(new Uint8Array()),
        segmentBytes: 500,
      }),
  ).toThrow(expect.objectContaining({ code: "CONFIGURATION" }));
});
