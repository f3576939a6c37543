import { SimSocket } from "../../src/sim/sim-socket.ts";
import type { SimHost } from "../../src/sim/host.ts";
import { World } from "../../src/sim/world.ts";
import { socketConformance } from "./socket.suite.ts";

const world = new World(1);
const hosts: SimHost[] = [];

socketConformance({
  name: "sim",
  async open() {
    const host = world.addHost(`h${hosts.length}`);
    for (const other of hosts) world.connect(host, other, { delayUs: 100 });
    hosts.push(host);
    return new SimSocket(host);
  },
  async until(condition) {
    if (world.run(world.nowUs + 60_000_000, condition) !== "done") throw new Error("it never happens");
  },
  async settle() {
    world.runFor(1_000_000);
  },
});
