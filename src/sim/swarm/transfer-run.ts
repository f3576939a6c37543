/**
 * Whole transfers in the simulated world: a server and a client with handshake, transport, transfer
 * engine and disks, killed and restarted, until the user's command has succeeded.
 *
 * The user is modelled, too: when the command fails, it is run again, as its message says.
 */
import { equalBytes, toHex } from "../../base/bytes.ts";
import { ERRORS } from "../../base/errors.ts";
import type { ErrorCode } from "../../base/errors.ts";
import { SeededRandom } from "../../base/random.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import type { DiskOperationKind, DiskResult } from "../../files/disk.ts";
import { isLeftoverName } from "../../files/staging-name.ts";
import type { Connection } from "../../transport/connection.ts";
import { Endpoint } from "../../transport/endpoint.ts";
import { KEY_LIMITS } from "../../transport/keys.ts";
import { ClientSession } from "../../transfer/client-session.ts";
import type { ClientRequest } from "../../transfer/client-session.ts";
import { DEFAULT_OPTIONS } from "../../transfer/transfer-options.ts";
import { ServerSession } from "../../transfer/server-session.ts";
import { SessionBinding } from "../../transfer/session-binding.ts";
import type { TransferSession } from "../../transfer/session.ts";
import { SimDisk } from "../disk.ts";
import { HEALTHY_DISK } from "../disk-faults.ts";
import { DiskQueue } from "../disk-queue.ts";
import { AmplificationWatch, CheckFailed, WatchedCrypto, watchPlaintext } from "./checkers.ts";
import { DeliveryWatch } from "./delivery-watch.ts";
import type { RunResult, SimEnvironment } from "./environment.ts";
import { findUnsafeChunk } from "./journal-check.ts";
import type { PlanAction, PlanDiskAction, PlanSide, SwarmPlan } from "./plan.ts";
import { SimProcess } from "./process.ts";
import type { SimApplication } from "./process.ts";
import { Stage } from "./stage.ts";

/** Wall-clock time at the beginning of the world, in microseconds since 1970: some day in 2026. */
const WALL_CLOCK_US = 1_790_000_000_000_000;

/** Pause before a failed command is run again, in microseconds. */
const RERUN_AFTER_US = 1_000_000;

/** Attempts before a command that fails at once counts as hopeless. */
const ATTEMPTS_MAX = 1_000;

/** How long one disk operation takes, in microseconds: from a cached write to a slow sync. */
const DISK_LATENCY = { minUs: 20, maxUs: 5_000 };

/** Time a server has to tidy up after the client's success, in microseconds: the idle timeout and some. */
const TIDY_UP_US = 90_000_000;

/** Where files are. The second place must never be touched. */
const SOURCE = "/src";
const DESTINATION = "/in";
const BYSTANDER = "/other/keep";

/** Names that must not appear in clear on the wire: each as long as a marker. */
const FOLDER = "a-folder-name-nobody-may-see";

function fileName(index: number): string {
  return `a-file-name-nobody-may-see-${index}`;
}

function isOwnName(path: string): boolean {
  return path.startsWith(`${DESTINATION}/`) && isLeftoverName(path.slice(path.lastIndexOf("/") + 1));
}

/** Bytes of a file: random, four at a time. */
function fileContent(seed: number, index: number, length: number): Uint8Array {
  const random = new SeededRandom(seed, `content/${index}`);
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0; i < words.length; i++) words[i] = random.uint32();
  return new Uint8Array(words.buffer, 0, length);
}

/** One session with its connection and its disk operations. */
class Job {
  readonly binding: SessionBinding;
  private readonly owner: TransferProcess;
  private readonly prefix: number;

  /** The session's name on both sides. */
  private readonly name: string;

  constructor(owner: TransferProcess, prefix: number, binding: SessionBinding) {
    this.owner = owner;
    this.prefix = prefix;
    this.binding = binding;
    this.name = toHex(binding.connection.handshakeHash ?? new Uint8Array(0));
    owner.run.delivery.attach(this.name, binding.session);
  }

  pump(nowUs: number): void {
    const { binding, owner, prefix } = this;
    binding.pump(nowUs);
    for (const { id, operation } of binding.session.takeDiskRequests()) {
      owner.disk.submit({ id: prefix + id, operation });
    }
    owner.run.delivery.handleEvents(this.name, binding.session.takeEvents());
    binding.connection.takeEvents();
  }
}

/** Ids of disk requests of different sessions of one process are this far apart. */
const ID_SPAN = 1_000_000_000;

/** A serving or a sending process. */
class TransferProcess implements SimApplication {
  readonly side: PlanSide;
  readonly disk: DiskQueue;
  readonly process: SimProcess;
  readonly endpoint: Endpoint;
  readonly run: TransferRun;
  private readonly jobs: Job[] = [];
  private connection: Connection | undefined;
  private jobsMade = 0;

  constructor(run: TransferRun, side: PlanSide, isServer: boolean) {
    this.run = run;
    this.side = side;
    const { stage, environment, plan } = run;
    const host = stage.hosts[side];
    const identity = environment.identities[side === "sender" ? 0 : 1];
    const crypto = run.crypto.provider(side);
    this.endpoint = new Endpoint({
      crypto,
      identity: identity.signing,
      staticKey: identity.staticKey,
      seed: run.nextSeed(),
      config: {
        receiveWindowBytes: plan.receiveWindowBytes,
        keyLimits: { ...KEY_LIMITS, updatePackets: plan.keyUpdatePackets },
        keepAliveUs: KEEP_ALIVE_US,
      },
      controllerFactory: environment.controllers[plan.controller],
      accept: isServer ? { verifyPeer: () => undefined } : undefined,
      nowUs: stage.world.nowUs,
    });
    const random = new SeededRandom(plan.seed, `disk/${side}/${run.nextSeed()}`);
    this.disk = new DiskQueue(host, run.disks[side], DISK_LATENCY, random, (id, result) =>
      this.handleDiskResult(id, result),
    );
    this.disk.onPerformed = (kind) => run.handleDiskOperation(side, kind);
    this.process = new SimProcess(host, this.endpoint, this, run.amplification);
  }

  /** Dials the other side and runs a request. */
  dial(address: Int32Array, nowUs: number): void {
    this.process.handleDialled(address);
    this.connection = this.endpoint.connect({ address, verifyPeer: () => undefined }, nowUs);
  }

  react(nowUs: number): void {
    for (const connection of this.endpoint.takeAccepted()) {
      const policy = {
        location: this.side === "sender" ? SOURCE : DESTINATION,
        canRead: true,
        canWrite: true,
      };
      const session = new ServerSession(this.sessionHost(connection), { ...policy, keepsExisting: false });
      this.addJob(connection, session, false);
    }
    const { connection } = this;
    if (connection !== undefined && this.jobs.length === 0) {
      if (connection.state === "established") {
        const session = new ClientSession(this.sessionHost(connection), this.run.request, nowUs);
        this.addJob(connection, session, true);
      } else if (connection.state !== "handshaking") {
        this.connection = undefined;
        this.run.handleCommandEnd(
          connection.closeReason?.code ?? "PEER_GONE",
          connection.closeReason?.message ?? "",
        );
        return;
      }
    }
    for (let i = this.jobs.length - 1; i >= 0; i--) {
      const job = this.jobs[i];
      job.pump(nowUs);
      if (!job.binding.isDone) continue;
      this.jobs.splice(i, 1);
      if (job.binding.connection !== this.connection) continue;
      const { outcome } = job.binding.session;
      this.connection = undefined;
      this.run.handleCommandEnd(outcome?.code, outcome?.text ?? "");
      return;
    }
  }

  nextTimeoutUs(): number | undefined {
    let atUs = Number.POSITIVE_INFINITY;
    for (const { binding } of this.jobs) atUs = Math.min(atUs, binding.nextTimeoutUs() ?? atUs);
    return atUs === Number.POSITIVE_INFINITY ? undefined : atUs;
  }

  /** Whether no session is left. */
  get isIdle(): boolean {
    return this.jobs.length === 0;
  }

  /** What runs now, for people. */
  describe(): string {
    const jobs = this.jobs.map(
      ({ binding }) => `${binding.connection.state}/${binding.session.outcome?.text ?? "running"}`,
    );
    return `${this.side}: ${this.connection?.state ?? "-"} [${jobs.join(", ")}] disk ${this.disk.pending}`;
  }

  private addJob(connection: Connection, session: TransferSession, opensStream: boolean): void {
    this.jobsMade += 1;
    const job = new Job(this, this.jobsMade * ID_SPAN, new SessionBinding(connection, session, opensStream));
    this.jobs.push(job);
    this.sessions.set(this.jobsMade, session);
  }

  private readonly sessions = new Map<number, TransferSession>();

  private handleDiskResult(id: number, result: DiskResult): void {
    const session = this.sessions.get(Math.floor(id / ID_SPAN));
    session?.handleDiskResult(id % ID_SPAN, result, this.run.stage.world.nowUs);
  }

  private sessionHost(connection: Connection): ConstructorParameters<typeof ServerSession>[0] {
    return {
      hash: this.run.environment.hash,
      peerKey: connection.peerIdentity ?? new Uint8Array(32),
      peerFingerprint: "peer",
      peerAddress: "sim",
      umask: 0o022,
    };
  }
}

/** Silence after which a side asks for a sign of life: a receiver that moved is found by it. */
const KEEP_ALIVE_US = 10_000_000;

/** One run. */
class TransferRun {
  readonly plan: SwarmPlan;
  readonly environment: SimEnvironment;
  readonly stage: Stage;
  readonly crypto: WatchedCrypto;
  readonly amplification = new AmplificationWatch();
  readonly delivery: DeliveryWatch;
  readonly disks: Readonly<Record<PlanSide, SimDisk>>;
  attempts = 0;
  isComplete = false;
  lastError = "";
  private readonly server: PlanSide;
  private readonly client: PlanSide;
  private readonly files: readonly { readonly name: string; readonly content: Uint8Array }[];
  private readonly processes: Partial<Record<PlanSide, TransferProcess>> = {};
  private seeds = 0;
  private readonly everyProcess: SimProcess[] = [];
  /** The last attempt after which the receiver may have left its own files behind. */
  private leftoversOf = 0;

  constructor(plan: SwarmPlan, environment: SimEnvironment) {
    this.plan = plan;
    this.environment = environment;
    this.stage = new Stage(plan);
    this.crypto = new WatchedCrypto(environment.crypto, plan.seed);
    this.server = plan.isPull ? "sender" : "receiver";
    this.client = plan.isPull ? "receiver" : "sender";
    const wallClock = (): number => WALL_CLOCK_US + this.stage.world.nowUs;
    this.disks = {
      sender: new SimDisk(plan.seed, "sender", wallClock),
      receiver: new SimDisk(plan.seed, "receiver", wallClock),
    };
    const folder = plan.isTree === true ? `${FOLDER}/` : "";
    this.files = plan.sizes.map((size, i) => ({
      name: `${folder}${fileName(i)}`,
      content: fileContent(plan.seed, i, size),
    }));
    this.delivery = new DeliveryWatch(new Map(this.files.map(({ name, content }) => [name, content])));
    for (const { name, content } of this.files) this.disks.sender.plant(`${SOURCE}/${name}`, content);
    this.disks.receiver.plantDirectory(plan.isTreeThere === true ? `${DESTINATION}/${FOLDER}` : DESTINATION);
    for (const disk of [this.disks.sender, this.disks.receiver])
      disk.plant(BYSTANDER, encodeUtf8("untouched"));
    this.disks.sender.faults = plan.disks.sender;
    this.disks.receiver.faults = plan.disks.receiver;
    watchPlaintext(this.stage.world, [
      ...this.files.map(({ content }) => content),
      ...[FOLDER, ...plan.sizes.map((_, i) => fileName(i))].map((name) => encodeUtf8(name)),
    ]);
  }

  /** The user's command; its attempts are one job unless the plan changes the command. */
  get request(): ClientRequest {
    const { isPull, isUpdate, isTree, changesCommand } = this.plan;
    const names = isTree === true ? [FOLDER] : this.files.map(({ name }) => name);
    const isOther = changesCommand === true && this.attempts % 2 === 0;
    const common = { options: { ...DEFAULT_OPTIONS, update: isUpdate }, rules: [] };
    if (isPull)
      return { mode: "pull", paths: isOther ? names.toReversed() : names, into: DESTINATION, ...common };
    const [above] = SOURCE.split("/").slice(1);
    const sources = names.map((name) =>
      isOther
        ? { location: "/", path: [above, name], name: [name] }
        : { location: SOURCE, path: [name], name: [name] },
    );
    return { mode: "push", sources, destination: "", ...common };
  }

  /** A number no other part of this run uses as its seed. */
  nextSeed(): number {
    return this.plan.seed * 1_000 + this.seeds++;
  }

  run(): RunResult {
    const { stage, plan } = this;
    const failure = this.guarded(() => {
      stage.begin(
        (action) => this.handleFault(action),
        () => this.handleHealed(),
      );
      this.startServer();
      this.startCommand();
      const verdict = stage.world.run(stage.deadlineUs, () => this.isComplete);
      if (verdict !== "done") {
        const sides = (["sender", "receiver"] as const).map(
          (side) => this.processes[side]?.describe() ?? `${side}: dead`,
        );
        throw new CheckFailed(
          `not complete ${Math.round((stage.world.nowUs - stage.healedUs) / 1e6)} s after the faults ended (${verdict}; last error: ${this.lastError}; ${sides.join("; ")})`,
        );
      }
      // The sender knows now; the receiver still closes what it has open.
      stage.world.run(stage.world.nowUs + TIDY_UP_US, () => this.processes[this.server]?.isIdle === true);
      this.checkReplays();
      this.checkEnd();
    });
    return {
      seed: plan.seed,
      failure,
      virtualUs: stage.world.nowUs - stage.beginUs,
      packets: this.crypto.packetsSealed,
      attempts: this.attempts,
    };
  }

  /** The client's command has ended; `undefined`: with success. */
  handleCommandEnd(code: ErrorCode | undefined, text: string): void {
    const { client, stage } = this;
    this.processes[client]?.disk.kill();
    delete this.processes[client];
    stage.world.clock.at(stage.world.nowUs, () => stage.hosts[client].crash());
    if (code === undefined) {
      this.checkDurable();
      this.isComplete = true;
      return;
    }
    this.lastError = `${code} ${text}`;
    this.checkJournals();
    const { exit } = ERRORS[code];
    // Nothing in these runs justifies a verdict about identity, integrity, policy or protocol, or a bug.
    if (exit === 1 || (exit >= 7 && exit <= 10)) {
      throw new CheckFailed(`the command ended with ${code}: ${text}`);
    }
    stage.world.clock.at(stage.world.nowUs + RERUN_AFTER_US, () => this.startCommand());
  }

  private guarded(action: () => void): string | undefined {
    try {
      action();
      return undefined;
    } catch (error) {
      if (error instanceof CheckFailed) return error.message;
      return error instanceof Error ? `${error.message}\n${error.stack ?? ""}` : String(error);
    }
  }

  private get mayHaveLeftovers(): boolean {
    if (this.plan.changesCommand === true && this.attempts > 1) return true;
    return this.leftoversOf >= this.attempts;
  }

  private startServer(): void {
    const { server, stage } = this;
    const process = new TransferProcess(this, server, true);
    this.everyProcess.push(process.process);
    this.processes[server] = process;
    stage.hosts[server].start(process.process);
  }

  private startCommand(): void {
    const { client, server, stage } = this;
    if (this.isComplete || this.processes[client] !== undefined) return;
    this.attempts += 1;
    if (this.attempts > ATTEMPTS_MAX) throw new CheckFailed(`hopeless: ${this.lastError}`);
    const process = new TransferProcess(this, client, false);
    this.everyProcess.push(process.process);
    this.processes[client] = process;
    process.dial(stage.hosts[server].publicAddress, stage.world.nowUs);
    stage.hosts[client].start(process.process);
  }

  /** A disk has carried out an operation: the plan may let the receiver die here. */
  handleDiskOperation(side: PlanSide, kind: DiskOperationKind): void {
    const { stage, plan } = this;
    if (side !== "receiver" || stage.isHealed) return;
    for (const action of plan.diskActions ?? []) {
      if (action.operation !== kind || this.disks.receiver.calls[kind] !== action.atCall) continue;
      if (this.diskActionsDone.has(action)) continue;
      this.diskActionsDone.add(action);
      this.handleFault({ side, kind: action.kind, spanUs: action.spanUs });
    }
  }

  private readonly diskActionsDone = new Set<PlanDiskAction>();

  private handleFault({ side, kind, spanUs }: Pick<PlanAction, "side" | "kind" | "spanUs">): void {
    const { stage } = this;
    this.checkJournals();
    // A power cut can bring back what was removed; a receiver that dies after its last word cannot tidy up.
    if (side === "receiver")
      this.leftoversOf =
        kind === "power-cut" ? Number.POSITIVE_INFINITY : Math.max(this.leftoversOf, this.attempts);
    this.processes[side]?.disk.kill();
    delete this.processes[side];
    stage.hosts[side].crash();
    if (kind === "power-cut") this.disks[side].cutPower();
    stage.world.clock.at(stage.world.nowUs + spanUs, () => {
      if (side === this.client) this.startCommand();
      else if (this.processes[side] === undefined) this.startServer();
    });
  }

  private handleHealed(): void {
    for (const disk of [this.disks.sender, this.disks.receiver]) disk.faults = HEALTHY_DISK;
  }

  /** "Exit 0": every file is under its final name on the disk, and a power cut would leave it there. */
  private checkDurable(): void {
    const tree = this.disks.receiver.durableTree();
    for (const { name, content } of this.files) {
      const stored = tree.get(`${DESTINATION}/${name}`);
      if (stored === undefined) throw new CheckFailed(`exit 0, but ${name} would not survive a power cut`);
      if (!equalBytes(stored, content)) throw new CheckFailed(`exit 0, but ${name} is wrong on the disk`);
    }
  }

  /**
   * The receiver's journals know only chunks that a power cut now would leave: whoever resumes trusts
   * them, and looks again only after a crash.
   */
  private checkJournals(): void {
    const { receiver } = this.disks;
    let contents: Map<string, Uint8Array> | undefined;
    for (const [path, bytes] of receiver.tree()) {
      const job = /\/\.godwit-([0-9a-f]{16})\.journal$/u.exec(path)?.[1];
      if (job === undefined || bytes.length === 0) continue;
      contents ??= receiver.durableContents();
      const found = findUnsafeChunk(this.environment.hash, job, bytes, contents);
      if (found !== undefined) throw new CheckFailed(found);
    }
  }

  /** A packet counts once, however often the network delivers it. */
  private checkReplays(): void {
    let taken = 0;
    for (const process of this.everyProcess) taken += process.packetsTaken;
    const { packetsOpened } = this.crypto;
    if (taken > packetsOpened) {
      throw new CheckFailed(`${taken} packets were taken for new, ${packetsOpened} different ones arrived`);
    }
  }

  /** After success there are only the files themselves, and nothing outside. */
  private checkEnd(): void {
    const expected = new Set([BYSTANDER, ...this.files.map(({ name }) => `${DESTINATION}/${name}`)]);
    for (const [path] of this.disks.receiver.tree()) {
      // A server that never heard that its result arrived keeps the journal: the sender may ask again.
      if (!this.plan.isPull && path.startsWith(`${DESTINATION}/.godwit-`) && path.endsWith(".journal"))
        continue;
      if (this.mayHaveLeftovers && isOwnName(path)) continue;
      if (!expected.has(path)) throw new CheckFailed(`${path} was left behind`);
    }
    const sources = new Set([BYSTANDER, ...this.files.map(({ name }) => `${SOURCE}/${name}`)]);
    const left = this.disks.sender.tree();
    if (left.size !== sources.size) throw new CheckFailed("the sender's disk has changed");
    for (const { name, content } of this.files) {
      const source = left.get(`${SOURCE}/${name}`);
      if (source === undefined || !equalBytes(source, content))
        throw new CheckFailed(`the source ${name} has changed`);
    }
  }
}

/** Runs one plan to its end. Never throws: a broken rule is the result's `failure`. */
export function runTransfer(plan: SwarmPlan, environment: SimEnvironment): RunResult {
  return new TransferRun(plan, environment).run();
}
