/** A sender and its receivers in a simulated world: real endpoints, connections, sessions and disks. */
import { expect } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { GodwitError } from "../../src/base/errors.ts";
import { equalBytes, toHex } from "../../src/base/bytes.ts";
import type { GodwitEvent } from "../../src/events/event.ts";
import { Group } from "../../src/group/group.ts";
import { RelayCoordinator } from "../../src/group/relay-coordinator.ts";
import type { GroupPolicy } from "../../src/group/policy.ts";
import { SharedSource } from "../../src/group/shared-source.ts";
import { loadSimEnvironment } from "../../src/node/sim-environment.ts";
import { temporaryIdentity } from "../../src/node/stores/identity.ts";
import { SimDisk } from "../../src/sim/disk.ts";
import { DiskQueue } from "../../src/sim/disk-queue.ts";
import type { SimHost } from "../../src/sim/host.ts";
import type { LinkConfig } from "../../src/sim/link-config.ts";
import { World, type Hop } from "../../src/sim/world.ts";
import type { Connection } from "../../src/transport/connection.ts";
import { Endpoint, type EndpointOptions } from "../../src/transport/endpoint.ts";
import type { ClientSession } from "../../src/transfer/client-session.ts";
import { MessageQueue } from "../../src/transfer/control-stream.ts";
import { DEFAULT_OPTIONS } from "../../src/transfer/transfer-options.ts";
import type { RelayDial } from "../../src/transfer/relay/relay-node.ts";
import { RelayRegistry } from "../../src/transfer/relay/relay-registry.ts";
import { RelaySession } from "../../src/transfer/relay/relay-session.ts";
import { ServerSession } from "../../src/transfer/server-session.ts";
import { SessionBinding } from "../../src/transfer/session-binding.ts";
import type { TransferSession } from "../../src/transfer/session.ts";

/** Hash, crypto and two identities. */
export const environment = await loadSimEnvironment();

const DISK_LATENCY = { minUs: 20, maxUs: 2_000 };
const ID_SPAN = 1_000_000_000;

/** Rules that change nothing: every receiver at once, no retries. */
export const PLAIN: GroupPolicy = {
  maxLanes: 64,
  retries: 0,
  quorum: undefined,
  deadlineUs: undefined,
  minRateBytesPerSecond: undefined,
  laggards: "demote",
};

/** One session on a simulated disk. */
class Job {
  readonly connection: Connection;
  readonly binding: SessionBinding;
  readonly prefix: number;

  constructor(connection: Connection, session: TransferSession, opensStream: boolean, prefix: number) {
    this.connection = connection;
    this.binding = new SessionBinding(connection, session, opensStream);
    this.prefix = prefix;
  }

  pump(nowUs: number, disk: DiskQueue): void {
    this.binding.pump(nowUs);
    for (const { id, operation } of this.binding.session.takeDiskRequests())
      disk.submit({ id: this.prefix + id, operation });
  }
}

function least(...times: (number | undefined)[]): number | undefined {
  const atUs = Math.min(...times.map((time) => time ?? Number.POSITIVE_INFINITY));
  return atUs === Number.POSITIVE_INFINITY ? undefined : atUs;
}

function run(
  host: SimHost,
  endpoint: Endpoint,
  react: (nowUs: number) => void,
  next: () => number | undefined,
): void {
  host.start({
    handleDatagrams: (batch, _from, _to, nowUs) => endpoint.handleDatagrams(batch, nowUs),
    handleTimeout: (nowUs) => endpoint.handleTimeout(nowUs),
    pollTransmit: (batch, nowUs) => {
      react(nowUs);
      endpoint.pollTransmit(batch, nowUs);
    },
    nextTimeoutUs: () => least(endpoint.nextTimeoutUs(), next()),
  });
}

/** Says that it stored something else than what was sent. */
class LyingSession extends ServerSession {
  override takeControlBytes(maxBytes: number): Uint8Array {
    if (super.takeControlBytes(maxBytes).length === 0) return new Uint8Array(0);
    const lie = new MessageQueue();
    lie.add({ type: "accept", object: 0, mode: "data", have: [] });
    lie.add({ type: "committed", object: 0, state: "committed", root: new Uint8Array(32) });
    return lie.take(maxBytes);
  }
}

/** Makes what a session sends useless. */
function harm(session: TransferSession, how: "lies" | "is-mute"): void {
  if (how === "is-mute") session.peekPiece = () => false;
  else {
    const peek = session.peekPiece.bind(session);
    session.peekPiece = (piece, onlyRetransmissions) => {
      const isThere = peek(piece, onlyRetransmissions);
      // The true bytes are not lent.
      piece.lender = undefined;
      return isThere;
    };
    const take = session.takePiece.bind(session);
    session.takePiece = (piece, lengthBytes, target, at) => {
      take(piece, lengthBytes, target, at);
      if (target !== undefined) target[at] ^= 1;
    };
  }
}

/** A serving machine; its disk outlives its process. */
export class SimReceiver {
  readonly host: SimHost;
  readonly disk: SimDisk;
  /** Refuses everybody when set. */
  refuses = false;
  /** Answers every offer with a receipt for other contents when set. */
  lies = false;
  private readonly world: World;
  private readonly identity = temporaryIdentity(environment.crypto);
  readonly key = this.identity.signing.publicKey;
  readonly fingerprint = toHex(this.key);
  private queue: DiskQueue | undefined;
  private starts = 0;
  /** The exchange with other receivers; none when it does not take part. */
  relays: RelayRegistry | undefined;
  /** Set for one that does not take part. */
  refusesRelay = false;
  /** What it does to chunks that others ask of it: changes a byte, or never sends them. */
  harms: "nothing" | "lies" | "is-mute" = "nothing";

  constructor(world: World, index: number) {
    this.world = world;
    this.host = world.addHost(`receiver${index}`);
    this.disk = new SimDisk(world.seed, `receiver${index}`, () => 1_790_000_000_000_000 + world.nowUs);
    this.disk.plantDirectory("/in");
  }

  start(options: Partial<EndpointOptions> = {}): void {
    const { world, host, identity } = this;
    const jobs: Job[] = [];
    let hasWork = false;
    const relays = new RelayRegistry(world.seed + this.starts, () => (hasWork = true));
    this.relays = this.refusesRelay ? undefined : relays;
    const endpoint = new Endpoint({
      crypto: environment.crypto,
      identity: identity.signing,
      staticKey: identity.staticKey,
      seed: world.seed + ++this.starts,
      accept: {
        verifyPeer: (key) => {
          const isSender = equalBytes(key, environment.identities[0].signing.publicKey);
          const mayIn = isSender ? !this.refuses : relays.isExpected(key);
          return mayIn ? undefined : new GodwitError("NOT_AUTHORIZED", "not you");
        },
      },
      nowUs: world.nowUs,
      ...options,
    });
    const random = new SeededRandom(world.seed, `disk/${host.name}/${this.starts}`);
    const queue = new DiskQueue(host, this.disk, DISK_LATENCY, random, (id, result) => {
      if (id < ID_SPAN) relays.handleDiskResult(id, result);
      const job = jobs.find(({ prefix }) => prefix === id - (id % ID_SPAN));
      job?.binding.session.handleDiskResult(id % ID_SPAN, result, world.nowUs);
    });
    this.queue = queue;
    const policy = { location: "/in", canRead: true, canWrite: true, keepsExisting: false };
    const add = (connection: Connection, session: TransferSession, opensStream: boolean): void => {
      if (this.harms !== "nothing") harm(session, this.harms);
      jobs.push(new Job(connection, session, opensStream, (jobs.length + 1) * ID_SPAN));
    };
    const dialling = new Map<Connection, RelayDial>();
    const turn = (nowUs: number): void => {
      for (const connection of endpoint.takeAccepted()) {
        const Session = this.lies ? LyingSession : ServerSession;
        const session = new Session({ ...sessionHost(connection), relays: this.relays }, policy);
        add(connection, session, false);
      }
      for (const [connection, dial] of dialling) {
        if (connection.state === "handshaking") continue;
        dialling.delete(connection);
        if (connection.state === "established")
          add(connection, new RelaySession(sessionHost(connection), dial, nowUs), true);
        else dial.node.handleUnreached(dial);
      }
      for (const job of jobs) job.pump(nowUs, queue);
      for (const { connection } of jobs) {
        const text = connection.closeReason?.message;
        if (text !== undefined && !this.heard.includes(text)) this.heard.push(text);
      }
      for (const job of jobs) this.events.push(...job.binding.session.takeEvents());
      relays.handleTurn(nowUs);
      for (const dial of relays.takeDials()) {
        const { address, key } = dial;
        const verifyPeer = (shown: Uint8Array) => (equalBytes(shown, key) ? undefined : "PIN_MISMATCH");
        dialling.set(endpoint.connect({ address, verifyPeer }, nowUs), dial);
      }
      for (const { id, operation } of relays.takeDiskRequests()) queue.submit({ id, operation });
    };
    run(
      host,
      endpoint,
      (nowUs) => {
        let turns = 0;
        do {
          hasWork = false;
          turn(nowUs);
        } while (hasWork && ++turns < 8);
      },
      () => least(relays.nextTimeoutUs(), ...jobs.map(({ binding }) => binding.nextTimeoutUs())),
    );
  }

  /** What its sessions told. */
  readonly events: GodwitEvent[] = [];
  /** What its connections were closed with. */
  readonly heard: string[] = [];

  /** The process dies. */
  crash(): void {
    this.queue?.kill();
    this.host.crash();
  }

  file(name: string): Uint8Array | undefined {
    return this.disk.tree().get(`/in/${name}`) ?? this.disk.tree().get(`in/${name}`);
  }
}

function sessionHost(connection: Connection) {
  return {
    hash: environment.hash,
    peerKey: connection.peerIdentity ?? new Uint8Array(32),
    peerFingerprint: toHex(connection.peerIdentity ?? new Uint8Array(32)),
    peerAddress: "sim",
    umask: 0o022,
  };
}

/** What a fleet is made of. */
export interface FleetOptions {
  readonly seed?: number;
  readonly receivers: number;
  readonly files: Readonly<Record<string, Uint8Array>>;
  readonly policy?: Partial<GroupPolicy>;
  readonly supplyBytes?: number;
  /** The link all lanes share. */
  readonly uplink?: Partial<LinkConfig>;
  /** The link of receiver `index`, towards it. */
  readonly downlink?: (index: number) => Partial<LinkConfig>;
  readonly endpoint?: Partial<EndpointOptions>;
  /** Lets receivers serve each other. */
  readonly relay?: boolean;
  /** The link of receiver `index`, away from it; its way to the sender and to the others. */
  readonly uplinkOf?: (index: number) => Partial<LinkConfig>;
  /** Whether two receivers reach each other; all do unless given. */
  readonly reaches?: (from: number, to: number) => boolean;
  /** Receivers that do not run from the start. */
  readonly absent?: readonly number[];
}

/** One sender, many receivers, one shared uplink. */
export class SimFleet {
  readonly world: World;
  readonly receivers: readonly SimReceiver[];
  readonly group: Group;
  readonly source: SharedSource;
  readonly downlinks: Hop[] = [];
  readonly uplinks: Hop[] = [];
  readonly uplink: Hop;
  readonly relay: RelayCoordinator | undefined;
  /** What the sender's lanes told, each with its receiver. */
  readonly events: { readonly receiver: number; readonly event: GodwitEvent }[] = [];
  readonly endedAtUs: (number | undefined)[] = [];
  readonly startedUs: number;
  private readonly sender: SimHost;
  private readonly endpoint: Endpoint;
  private readonly dialling = new Map<number, Connection>();
  private readonly lanes = new Map<number, { job: Job; session: ClientSession }>();
  private readonly lingering: Job[] = [];
  private readonly queue: DiskQueue;

  constructor(options: FleetOptions) {
    const world = new World(options.seed ?? 1);
    this.world = world;
    this.sender = world.addHost("sender");
    const uplink = world.addLink("uplink", options.uplink ?? {});
    this.uplink = uplink;
    const returns = world.addLink("returns", {});
    this.receivers = Array.from({ length: options.receivers }, (_, index) => {
      const receiver = new SimReceiver(world, index);
      const down = world.addLink(`down${index}`, options.downlink?.(index) ?? { delayUs: 5_000 });
      const up = world.addLink(`up${index}`, options.uplinkOf?.(index) ?? { delayUs: 5_000 });
      this.downlinks.push(down);
      this.uplinks.push(up);
      world.route(this.sender, receiver.host, [uplink, down]);
      world.route(receiver.host, this.sender, [up, returns]);
      if (options.absent?.includes(index) !== true) receiver.start();
      return receiver;
    });
    for (const [i, from] of this.receivers.entries())
      for (const [j, to] of this.receivers.entries())
        if (from !== to && options.reaches?.(i, j) !== false)
          world.route(from.host, to.host, [this.uplinks[i], this.downlinks[j]]);
    const disk = new SimDisk(world.seed, "sender", () => 1_790_000_000_000_000 + world.nowUs);
    for (const [name, bytes] of Object.entries(options.files)) disk.plant(`/src/${name}`, bytes);
    const policy = { ...PLAIN, ...options.policy };
    const sources = Object.keys(options.files).map((name) => ({
      location: "/src",
      path: [name],
      name: [name],
    }));
    this.source = new SharedSource({
      hash: environment.hash,
      sources,
      sendsLinks: false,
      rules: [],
      laneCount: Math.min(policy.maxLanes, options.receivers),
      ...(options.supplyBytes === undefined ? {} : { supplyBytes: options.supplyBytes }),
    });
    this.startedUs = world.nowUs;
    const isRelay = options.relay ?? false;
    const requestOptions = { ...DEFAULT_OPTIONS, relay: isRelay };
    const request = { mode: "push", sources, destination: "", options: requestOptions, rules: [] } as const;
    const random = world.random("tokens");
    this.relay = isRelay
      ? new RelayCoordinator(options.receivers, (target) => random.bytes(target))
      : undefined;
    this.group = new Group(
      { source: this.source, requests: this.receivers.map(() => request), policy, relay: this.relay },
      world.nowUs,
    );
    const [identity] = environment.identities;
    this.endpoint = new Endpoint({
      crypto: environment.crypto,
      identity: identity.signing,
      staticKey: identity.staticKey,
      seed: world.seed,
      config: { keepAliveUs: 5_000_000 },
      nowUs: world.nowUs,
      ...options.endpoint,
    });
    const diskRandom = new SeededRandom(world.seed, "disk/sender");
    this.queue = new DiskQueue(this.sender, disk, DISK_LATENCY, diskRandom, (id, result) =>
      this.source.handleDiskResult(id, result),
    );
    run(
      this.sender,
      this.endpoint,
      (nowUs) => {
        do this.react(nowUs);
        while (this.relay?.takeNews() === true);
      },
      () =>
        least(
          this.group.nextTimeoutUs(),
          ...[...this.lanes.values()].map(({ job }) => job.binding.nextTimeoutUs()),
          ...this.lingering.map(({ binding }) => binding.nextTimeoutUs()),
        ),
    );
  }

  /** Runs to the end of the group; throws when it has none in this span of virtual time. */
  run(spanUs = 600_000_000, isDone: () => boolean = () => false): void {
    const verdict = this.world.run(this.world.nowUs + spanUs, () => this.group.isOver || isDone());
    if (verdict !== "done") throw new Error(`${verdict}: ${JSON.stringify(this.group.receivers)}`);
  }

  /** Verdicts in the order of the receivers. */
  get verdicts(): string[] {
    return this.group.ends.map(({ verdict }) => verdict);
  }

  /** Virtual seconds that each receiver took. */
  get seconds(): number[] {
    return this.endedAtUs.map((atUs) => ((atUs ?? Number.POSITIVE_INFINITY) - this.startedUs) / 1e6);
  }

  private react(nowUs: number): void {
    const { group, endpoint } = this;
    const { failure } = this.source;
    if (failure !== undefined) group.cancel(failure.code, failure.text, nowUs, failure.peerText);
    if ((group.nextTimeoutUs() ?? Infinity) <= nowUs) group.handleTimeout(nowUs);
    for (const action of group.takeActions()) {
      const { receiver } = action;
      if (action.type === "dial") {
        const address = this.receivers[receiver].host.publicAddress;
        this.dialling.set(receiver, endpoint.connect({ address, verifyPeer: () => undefined }, nowUs));
      } else {
        const { code, text, peerText } = action;
        this.dialling.get(receiver)?.close("INTERRUPTED", peerText, nowUs);
        this.lanes.get(receiver)?.session.cancel(code, text, nowUs, peerText);
      }
    }
    for (const [receiver, connection] of this.dialling) {
      if (connection.state === "handshaking") continue;
      this.dialling.delete(receiver);
      if (connection.state === "established") {
        const session = group.openLane(receiver, sessionHost(connection), connection.peerAddress, nowUs);
        this.lanes.set(receiver, { session, job: new Job(connection, session, true, 0) });
      } else {
        const { code, message } = connection.closeReason ?? { code: "PEER_GONE" as const, message: "gone" };
        group.handleUnreached(receiver, code, message, nowUs);
      }
    }
    for (const [receiver, { job, session }] of this.lanes) {
      job.binding.pump(nowUs);
      for (const event of session.takeEvents()) {
        group.handleEvent(receiver, event, nowUs);
        if (event.type.startsWith("relay-")) this.events.push({ receiver, event });
      }
      if (session.outcome === undefined) continue;
      this.lanes.delete(receiver);
      this.lingering.push(job);
      group.handleOutcome(receiver, session.outcome, nowUs);
    }
    for (const { binding } of this.lingering) binding.pump(nowUs);
    for (const { id, operation } of this.source.takeDiskRequests()) this.queue.submit({ id, operation });
    group.receivers.forEach(({ end }, index) => {
      if (end !== undefined) this.endedAtUs[index] ??= nowUs;
    });
  }
}

/** Random bytes of a seed. */
export function content(seed: number, length: number): Uint8Array {
  const random = new SeededRandom(seed, "content");
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0; i < words.length; i++) words[i] = random.uint32();
  return new Uint8Array(words.buffer, 0, length);
}

/** Eight receivers of 6.25 MB/s that lose 1 %, behind an uplink of 12.5 MB/s. */
export const LOSSY_STAR = {
  receivers: 8,
  uplink: { rateBytesPerSecond: 12_500_000, queueBytes: 500_000 },
  downlink: () => ({
    delayUs: 5_000,
    rateBytesPerSecond: 6_250_000,
    queueBytes: 500_000,
    lossProbability: 0.01,
  }),
} satisfies Partial<FleetOptions>;

/** That a receiver has a file as it was sent. */
export function expectComplete(fleet: SimFleet, index: number, bytes: Uint8Array, name = "film"): void {
  const file = fleet.receivers[index].file(name);
  expect(file !== undefined && Buffer.compare(file, bytes) === 0).toBe(true);
}
