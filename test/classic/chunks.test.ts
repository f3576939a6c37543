import { EDITIONS } from "../../src/classic/chunks/edition.ts";
import type { EditionName } from "../../src/classic/chunks/edition.ts";
import { ChunksClient } from "../../src/classic/chunks/client.ts";
import { ChunksServer } from "../../src/classic/chunks/server.ts";
import { CLIENT, describeClassicSystem, SERVER } from "../conformance/classic.suite.ts";
import type { ClassicSystem } from "../conformance/classic.suite.ts";
import { memorySource, MemoryStore } from "../support/classic-memory.ts";

const ONE_BIT = "one alternating bit cannot tell an old datagram from a new one";

function system(name: EditionName): ClassicSystem {
  const edition = EDITIONS[name];
  return {
    name: `chunks ${name}`,
    create: (content) => {
      const store = new MemoryStore();
      const server = new ChunksServer({
        edition,
        store,
        once: true,
        bufferBytes: edition.alternates ? 20_480 : 1_024,
      });
      const client = new ChunksClient({
        edition,
        server: SERVER,
        source: memorySource(content),
        remoteName: "a.dat",
      });
      const file = name === "f21" ? `new_${CLIENT.replace(":", "_")}.dat` : "a.dat";
      return { server, client, published: () => store.files.get(file), openSinks: () => store.openSinks };
    },
    sizes: edition.alternates
      ? [0, 1, 20_475, 20_476, 20_477, 100_000]
      : [0, 1, 1_015, 1_016, 1_017, 9 * 1_016, 9 * 1_016 + 1, 200_000],
    badNetworkBytes: edition.alternates ? 250_000 : 12_000,
    unsafe: edition.alternates
      ? { reordering: ONE_BIT, duplication: ONE_BIT, "duplication and loss": ONE_BIT }
      : {},
    clientConfirms: true,
    limitUs: 3_600_000_000,
  };
}

for (const name of Object.keys(EDITIONS) as EditionName[]) describeClassicSystem(system(name));
