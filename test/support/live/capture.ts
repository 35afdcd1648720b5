/** Captures of live processes: stopped, read by the reference, imported, dumped, and read again. */
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type DumpReport,
  type Image,
  type ImageVma,
  importProcess,
  MiB,
  memorySink,
  openImage,
  type ProcessReport,
} from 'mmdump';
import { expect, type TestContext } from 'vitest';
import { imageOf } from '../images/images.ts';
import {
  isInstalled,
  type LiveProcess,
  parseRegions,
  type Region,
  Workshop,
} from './live-process.ts';
import { PAGE, threadStates } from './proc.ts';
import { pageStates, type Reference, readReference } from './reference.ts';

/** A stopped process, its reference, and the results of its import. */
export interface Capture {
  readonly live: LiveProcess;
  readonly regions: readonly Region[];
  readonly reference: Reference;
  readonly process: ProcessReport;
  readonly space: AddressSpace;
  readonly dump: DumpReport;
  readonly image: Image;
  /** States of all threads after the import. */
  readonly states: string;
  /** Pages whose presence the import changed. */
  readonly changed: readonly string[];
}

/** The reason why there is no such process here. */
export type Absent = { readonly reason: string };

/** The programs, the dumper and the images of one test file. */
export class LiveFixture {
  readonly workshop: Workshop = new Workshop();
  readonly #images: Image[] = [];
  #dumper: Dumper | undefined;

  get dumper(): Dumper {
    return this.#dumper!;
  }

  async start(): Promise<void> {
    this.#dumper = await createDumper({ workers: 3 });
  }

  async close(): Promise<void> {
    for (const image of this.#images) await image.close();
    await this.workshop.close();
    await this.#dumper?.close();
  }

  async open(from: Parameters<typeof openImage>[0]): Promise<Image> {
    const image = await openImage(from);
    this.#images.push(image);
    return image;
  }

  async capture(live: LiveProcess, regions: readonly Region[] = []): Promise<Capture> {
    await live.stop();
    const reference = readReference(live.pid);
    const machine = createMachine({ memory: 512 * MiB });
    const { dumper } = this;
    const { mms, processes } = await importProcess(machine, live.pid, { dumper });
    const states = threadStates(live.pid);
    const changed = differences(reference.states, pageStates(live.pid));
    const sink = memorySink();
    const dump = await dumper.dump(mms[0]!, { to: sink });
    const image = await this.open(sink.image);
    const process = processes[0]!;
    await this.#expectSameOnDemand(live.pid, mms[0]!);
    return { live, regions, reference, process, space: mms[0]!, dump, image, states, changed };
  }

  /** Imports the process once more, and leaves its pages there: the image must be the same. */
  async #expectSameOnDemand(pid: number, space: AddressSpace): Promise<void> {
    const machine = createMachine({ memory: 512 * MiB });
    const options = { dumper: this.dumper, load: 'on-demand' } as const;
    await using imported = await importProcess(machine, pid, options);
    const loaded = await imageOf(this.dumper, [space]);
    const found = await imageOf(this.dumper, imported.mms);
    expect(Buffer.compare(found, loaded)).toBe(0);
  }

  async captureNode(): Promise<Capture> {
    return this.capture(await this.workshop.startReady(this.workshop.nodeCommand()));
  }

  async capturePython(): Promise<Capture | Absent> {
    if (!isInstalled('python3')) return { reason: 'there is no python3' };
    return this.capture(await this.workshop.startReady(this.workshop.pythonCommand()));
  }

  async captureC(...words: string[]): Promise<Capture | Absent> {
    const program = this.workshop.cProgram();
    if (program === undefined) return { reason: 'there is no C compiler' };
    const live = await this.workshop.start([program, ...words]);
    return this.capture(live, parseRegions(await live.ready()));
  }
}

export function need(context: TestContext, subject: Capture | Absent): Capture {
  if ('reason' in subject) context.skip(subject.reason);
  return subject as Capture;
}

export const hex = (address: number): string => `0x${address.toString(16)}`;

/** Describes the keys at which two maps differ, up to a small number of them. */
export function differences<T>(
  expected: ReadonlyMap<number, T>,
  found: ReadonlyMap<number, T>,
): readonly string[] {
  const lines: string[] = [];
  for (const address of new Set([...expected.keys(), ...found.keys()])) {
    const left = expected.get(address) ?? 'absent';
    const right = found.get(address) ?? 'absent';
    if (left !== right) lines.push(`${hex(address)}: ${right}, expected ${left}`);
  }
  return lines.slice(0, 20);
}

/** Returns what the image stores, by address. */
export function storedIn(image: Image): Map<number, string> {
  const stored = new Map<number, string>();
  const { blocks } = image.mm();
  for (let index = 0; index < blocks.count; index++) {
    const { start, pages } = blocks.at(index);
    for (let page = start; page < start + pages; page++) {
      stored.set(page * PAGE, image.page(page * PAGE).kind);
    }
  }
  return stored;
}

export function expectedKinds({ stored }: Reference): Map<number, string> {
  return new Map([...stored].map(([address, { kind }]) => [address, kind]));
}

export async function wrongPages(image: Image, reference: Reference): Promise<string[]> {
  const wrong: string[] = [];
  const page = Buffer.alloc(PAGE);
  for (const [address, { bytes }] of reference.stored) {
    if (bytes === null) continue;
    await image.read(address, page);
    if (!page.equals(bytes)) wrong.push(hex(address));
  }
  return wrong;
}

export function vmaAt(image: Image, address: number): ImageVma {
  return image.vmas().find(({ start, end }) => start <= address && address < end)!;
}

/** One letter per page: 'c' copy, 'z' zero, 'g' guard, '.' absent, 'u' unmapped. */
export function pictureOf(image: Image, { start, end }: Region): string {
  let text = '';
  for (let address = start; address < end; address += PAGE) {
    const { kind } = image.page(address);
    text += kind === 'absent' ? '.' : kind.charAt(0);
  }
  return text;
}
