import { describe, expect, test } from "vitest";
import { EventQueue } from "../../events/queue.ts";
import { newReno } from "../congestion/newreno.ts";
import { Recovery } from "./recovery.ts";
import { SentPackets } from "./sent-packets.ts";

describe("the table of sent packets", () => {
  test("holds 262 144 rows and no more, wherever the numbers begin", () => {
    const table = new SentPackets();
    for (let i = 0; i < 262_144; i++) {
      expect(table.isFull).toBe(false);
      const row = table.append(5_000_000_000 + i);
      table.sentAtUs[row] = i;
    }
    expect(table.isFull).toBe(true);
    expect(() => table.append(5_000_262_144)).toThrow("has room");
    // Growing kept each row in its place.
    let misplaced = 0;
    for (let i = 0; i < 262_144; i++) if (table.sentAtUs[(5_000_000_000 + i) & table.mask] !== i) misplaced++;
    expect(misplaced).toBe(0);
    table.retireBelow(5_000_000_001);
    expect([table.isFull, table.append(5_000_262_144)]).toEqual([false, 5_000_000_000 & table.mask]);
  });

  test("a peer that acknowledges nothing stops the sender at three quarters of it", () => {
    const recovery = new Recovery({
      controllerFactory: (options) => {
        const controller = newReno(options);
        Object.defineProperty(controller, "congestionWindowBytes", { value: Number.POSITIVE_INFINITY });
        return controller;
      },
      datagramBytes: 1_200,
      nowUs: 0,
      randomFloat: () => 0.5,
      events: new EventQueue(),
      maxAckDelayUs: 25_000,
      rateCap: undefined,
    });
    let sent = 0;
    while (recovery.canSend(1_200) && sent < 300_000) recovery.handleSent(sent++, 1_200, sent, true, false);
    expect(sent).toBe(196_608);
    // What only acknowledges still goes out; the oldest is forgotten for it.
    for (let i = 0; i < 100_000; i++) recovery.handleSent(sent++, 40, sent, false, false);
    expect(sent).toBe(296_608);
  });
});
