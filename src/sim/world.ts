/**
 * The seeded world: hosts, the links between them, and virtual time. One seed decides everything.
 *
 * A datagram a host sends travels over the links of its route; at the end of the last one it reaches
 * whichever host owns the destination address at that moment, or nobody.
 *
 * What it does not model: multicast, ICMP, NAT filtering (any sender reaches a mapped address), hosts
 * with several interfaces at once, CPU time (a host reacts in no time unless it is paused).
 */
import { assert } from "../base/assert.ts";
import { SeededRandom } from "../base/random.ts";
import { sameAddress } from "../wire/address.ts";
import type { PacketBatch } from "../wire/batch.ts";
import { VirtualClock } from "./clock.ts";
import type { Sleeper } from "./clock.ts";
import { SimHost } from "./host.ts";
import { Link } from "./link.ts";
import type { LinkSink } from "./link.ts";
import type { LinkConfig } from "./link-config.ts";
import { addressKey, simAddress } from "./sim-address.ts";

/** First moment of a world, in microseconds: not zero, so that nobody mistakes it for "never". */
const START_US = 1_000_000;

/** Sees every datagram at the moment a host hands it to the network: where checkers listen. */
export type DatagramTap = (
  datagram: Uint8Array,
  from: Int32Array,
  to: Int32Array,
  host: SimHost,
  nowUs: number,
) => void;

/** From one address to another over a row of links. */
interface Flow {
  readonly from: Int32Array;
  readonly to: Int32Array;
  readonly route: readonly Hop[];
}

/** A link in its place in the world. */
export class Hop implements LinkSink<Flow>, Sleeper {
  readonly name: string;
  /** The link itself: its statistics and configuration. */
  readonly link: Link<Flow>;
  private readonly world: World;

  /** @internal made by `World.addLink` */
  constructor(world: World, name: string, config: Partial<LinkConfig>) {
    this.world = world;
    this.name = name;
    this.link = new Link<Flow>(config, world.seed, `link/${name}`, world.nowUs);
  }

  /** Changes the link's configuration from now on. */
  configure(part: Partial<LinkConfig>): void {
    this.link.configure(part, this.world.nowUs);
    this.world.clock.schedule(this, this.link.nextDeliveryUs());
  }

  /** @internal */
  enqueue(datagram: Uint8Array, ecn: number, flow: Flow): void {
    const { clock } = this.world;
    this.link.enqueue(datagram, ecn, flow, clock.nowUs);
    clock.schedule(this, this.link.nextDeliveryUs());
  }

  wake(nowUs: number): void {
    this.link.takeDelivered(nowUs, this);
    this.world.clock.schedule(this, this.link.nextDeliveryUs());
    this.world.drainHosts();
  }

  handleDelivery(datagram: Uint8Array, ecn: number, flow: Flow): void {
    const next = flow.route[flow.route.indexOf(this) + 1];
    if (next === undefined) this.world.arrive(datagram, ecn, flow.from, flow.to);
    else next.enqueue(datagram, ecn, flow);
  }
}

/** Hosts, links and one clock. */
export class World {
  readonly seed: number;
  readonly clock = new VirtualClock(START_US);
  /** Datagrams that reached an address nobody owns, or had no route. */
  unroutable = 0;
  private readonly hops: Hop[] = [];
  private readonly hosts: SimHost[] = [];
  private readonly owners = new Map<string, SimHost>();
  private readonly routes = new Map<SimHost, Map<SimHost, readonly Hop[]>>();
  private readonly flows = new Map<string, Flow>();
  private readonly lastFlow = new Map<SimHost, Flow>();
  private readonly taps: DatagramTap[] = [];
  private readonly waiting: SimHost[] = [];

  constructor(seed: number) {
    this.seed = seed;
  }

  /** Virtual time in microseconds. */
  get nowUs(): number {
    return this.clock.nowUs;
  }

  /** A random stream of its own for `label`: using it moves no other. */
  random(label: string): SeededRandom {
    return new SeededRandom(this.seed, label);
  }

  /** A host with an address of its own; it needs a route to be heard. */
  addHost(name: string, port = 4_639): SimHost {
    const host = new SimHost(this, name, simAddress(this.hosts.length + 1, port));
    this.hosts.push(host);
    this.owners.set(addressKey(host.publicAddress), host);
    return host;
  }

  /** A link that routes can use; several routes may share it. */
  addLink(name: string, config: Partial<LinkConfig>): Hop {
    const hop = new Hop(this, name, config);
    this.hops.push(hop);
    return hop;
  }

  /** All links, in the order they were added. */
  get links(): readonly Hop[] {
    return this.hops;
  }

  /** Datagrams from `from` to `to` travel over `hops` from now on; each link at most once. */
  route(from: SimHost, to: SimHost, hops: readonly Hop[]): void {
    assert(hops.length > 0 && new Set(hops).size === hops.length, "a route passes each link once");
    let table = this.routes.get(from);
    if (table === undefined) this.routes.set(from, (table = new Map<SimHost, readonly Hop[]>()));
    table.set(to, hops);
    this.forgetFlows();
  }

  /** Two links between two hosts, one each way; returns [a to b, b to a]. */
  connect(
    a: SimHost,
    b: SimHost,
    forward: Partial<LinkConfig>,
    backward: Partial<LinkConfig> = forward,
  ): readonly [Hop, Hop] {
    const there = this.addLink(`${a.name}>${b.name}`, forward);
    const back = this.addLink(`${b.name}>${a.name}`, backward);
    this.route(a, b, [there]);
    this.route(b, a, [back]);
    return [there, back];
  }

  /** `tap` sees every datagram any host sends from now on. */
  watch(tap: DatagramTap): void {
    this.taps.push(tap);
  }

  /**
   * Runs until `isDone` says so, nothing is left to happen, or `untilUs` is reached, and says which.
   * `isDone` is asked after each event.
   */
  run(untilUs: number, isDone?: () => boolean): "done" | "idle" | "deadline" {
    for (const host of this.hosts) host.poke();
    for (;;) {
      if (isDone?.() === true) return "done";
      if (!this.clock.step(untilUs)) return this.nowUs >= untilUs ? "deadline" : "idle";
    }
  }

  /** Runs for a span of virtual time. */
  runFor(spanUs: number): void {
    this.run(this.nowUs + spanUs);
  }

  /** @internal sends datagram `index` of a batch from a host to the address the batch names. */
  transmit(host: SimHost, batch: PacketBatch, index: number): void {
    let flow = this.lastFlow.get(host);
    if (flow === undefined || !sameAddress(flow.to, 0, batch.addresses, index)) {
      flow = this.flowTo(host, batch.addresses, index);
      if (flow !== undefined) this.lastFlow.set(host, flow);
    }
    const from = host.publicAddress;
    if (this.taps.length > 0) {
      const view = batch.datagram(index);
      const to = flow?.to ?? batch.addresses.slice(index * 6, index * 6 + 6);
      for (const tap of this.taps) tap(view, from, to, host, this.nowUs);
    }
    if (flow === undefined) {
      this.unroutable += 1;
      return;
    }
    const offset = batch.offsets[index];
    flow.route[0].enqueue(batch.bytes.slice(offset, offset + batch.lengths[index]), batch.ecn[index], flow);
  }

  /** @internal puts a datagram into the network as if it came from any address: for attackers. */
  inject(datagram: Uint8Array, from: Int32Array, to: Int32Array, route: readonly Hop[]): void {
    route[0].enqueue(datagram, 0, { from, to, route });
  }

  /** @internal */
  arrive(datagram: Uint8Array, ecn: number, from: Int32Array, to: Int32Array): void {
    const host = this.owners.get(addressKey(to));
    if (host === undefined) this.unroutable += 1;
    else host.handleArrival(datagram, ecn, from);
  }

  /** @internal the host has datagrams to look at once the current event is over. */
  wait(host: SimHost): void {
    this.waiting.push(host);
  }

  /** @internal */
  drainHosts(): void {
    // A host that reacts may make another wait: the list grows while it is walked.
    for (let i = 0; i < this.waiting.length; i++) this.waiting[i].drain();
    this.waiting.length = 0;
  }

  /** @internal an address changes hands; `from` undefined: it is new. */
  rename(host: SimHost, from: Int32Array, to: Int32Array): void {
    this.owners.delete(addressKey(from));
    assert(!this.owners.has(addressKey(to)), "an address has one owner");
    this.owners.set(addressKey(to), host);
    this.forgetFlows();
  }

  /** @internal an address nobody has had yet. */
  freshAddress(): Int32Array {
    this.movedHosts += 1;
    return simAddress(FIRST_MOVED_HOST + this.movedHosts, 4_639);
  }

  private movedHosts = 0;

  private forgetFlows(): void {
    this.flows.clear();
    this.lastFlow.clear();
  }

  private flowTo(host: SimHost, addresses: Int32Array, index: number): Flow | undefined {
    const toKey = addressKey(addresses, index);
    const key = `${addressKey(host.publicAddress)}>${toKey}`;
    const known = this.flows.get(key);
    if (known !== undefined) return known;
    const target = this.owners.get(toKey) ?? this.formerOwner(toKey);
    const route = target === undefined ? undefined : this.routes.get(host)?.get(target);
    if (route === undefined) return undefined;
    const flow = { from: host.publicAddress, to: addresses.slice(index * 6, index * 6 + 6), route };
    this.flows.set(key, flow);
    return flow;
  }

  /** Whoever had an address that is free now: datagrams to it still use the links, then vanish. */
  private formerOwner(key: string): SimHost | undefined {
    return this.hosts.find((host) => host.hasOwned(key));
  }
}

/** Host numbers from here on are given to hosts that change their address. */
const FIRST_MOVED_HOST = 0x10_0000;
