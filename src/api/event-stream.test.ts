import { expect, test } from "vitest";
import { EventStream } from "./event-stream.ts";

async function collect(stream: AsyncIterable<number>): Promise<number[]> {
  const events: number[] = [];
  for await (const event of stream) events.push(event);
  return events;
}

test("each reader sees every event after it began, in order, and ends with the stream", async () => {
  const stream = new EventStream<number>();
  stream.emit(0);
  const first = collect(stream);
  stream.emit(1);
  const second = collect(stream);
  stream.emit(2);
  stream.end();
  expect(await first).toEqual([1, 2]);
  expect(await second).toEqual([2]);
  expect(await collect(stream)).toEqual([]);
});

test("a reader that leaves early is forgotten", async () => {
  const stream = new EventStream<number>();
  const reading = (async () => {
    for await (const event of stream) if (event === 2) break;
  })();
  stream.emit(1);
  stream.emit(2);
  await reading;
  expect(stream.hasReaders).toBe(false);
});
