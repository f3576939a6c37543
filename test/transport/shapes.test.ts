import { setFlagsFromString } from "node:v8";
import { expect, test } from "vitest";
import { World } from "../../src/sim/world.ts";
import type { Connection } from "../../src/transport/connection.ts";
import { OPEN, startEndpoint } from "./endpoint-world.ts";

/** Whether V8 keeps two objects in one hidden class. Its own syntax, so it is compiled from text. */
function sameShape(): (a: object, b: object) => boolean {
  setFlagsFromString("--allow-natives-syntax");
  try {
    // oxlint-disable-next-line typescript/no-implied-eval -- the text is a constant
    return new Function("a", "b", "return %HaveSameMap(a, b)") as (a: object, b: object) => boolean;
  } finally {
    setFlagsFromString("--no-allow-natives-syntax");
  }
}

test("the parts of all connections have one shape: what works on them is compiled once", () => {
  const world = new World(1);
  const b = world.addHost("b");
  const server = startEndpoint(b, { accept: OPEN });
  const clients = Array.from({ length: 10 }, (_, i) => {
    const a = world.addHost(`a${i}`);
    world.connect(a, b, { delayUs: 1_000 });
    return startEndpoint(a);
  });
  const dialled = clients.map((client) => client.connect({ address: b.publicAddress, ...OPEN }, world.nowUs));
  const accepted: Connection[] = [];
  const verdict = world.run(10_000_000, () => {
    accepted.push(...server.takeAccepted());
    return accepted.length === clients.length;
  });
  expect(verdict).toBe("done");
  const sessions = [...dialled, ...accepted].map(
    (connection) => (connection as unknown as { session: object }).session,
  );
  expect(sessions).toHaveLength(20);
  const isSame = sameShape();
  const shapes: object[] = [];
  for (const session of sessions) if (!shapes.some((one) => isSame(one, session))) shapes.push(session);
  // A shape that is left behind while the first ones are made is one more, not one for each.
  expect(shapes.length).toBeLessThanOrEqual(2);
});
