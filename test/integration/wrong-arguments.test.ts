/**
 * Every public function is given values of every kind, as a program in plain JavaScript may do.
 * Each argument gets every third kind, or with MMDUMP_LONG=1 all of them.
 *
 * Invariants checked: a value that an argument cannot be is refused with an MmdumpError that has a
 * code; no other error comes out, whatever is given; a call that is refused changes nothing: not
 * the machine, not an address space, not a file, not the dumper.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import * as mmdump from 'mmdump';
import {
  createDumper,
  createMachine,
  type Dumper,
  type Image,
  MiB,
  MmdumpError,
  memorySink,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Argument,
  type CallFixture,
  type PublicCall,
  publicCalls,
} from '../support/arguments/public-functions.ts';
import { WRONG_VALUES } from '../support/arguments/wrong-values.ts';
import { buildCore } from '../support/core/build-core.ts';

const isLong = process.env.MMDUMP_LONG === '1';
/**
 * What is not called: errors, which anybody may construct, and what a sink does only for a dump.
 */
const NO_CALLS =
  /^new (MmdumpError|AbortError)$|Sink\.(open|reserve|drain|commit|abort)$|Space\.(run|later)$|(Image|Dumper)\.close$|Image\.use$/;

/**
 * After these calls succeed the fixture is replaced: on the old one later calls would wait, or
 * would come from a thread that it does not know.
 */
const SPOILS = /exit|destroy|detach|freeze|[tT]hread|attach|close|unlink/;

let dumper: Dumper;
let image: Image;
let memoryImage: CallFixture['memoryImage'];
let target: ChildProcess;
let directory: string;
let core: string;
const before = process.cwd();

beforeAll(async () => {
  dumper = await createDumper({ workers: 1 });
  const sink = memorySink();
  await dumper.dump(newFixture().space, { to: sink, state: { cpu: Uint8Array.of(1) } });
  memoryImage = sink.image;
  image = await openImage(memoryImage);
  target = spawn('sleep', ['600'], { stdio: 'ignore' });
  directory = mkdtempSync(join(tmpdir(), 'mmdump-arguments-'));
  core = join(directory, 'core');
  writeFileSync(core, buildCore([], []));
  process.chdir(directory);
});

afterAll(async () => {
  process.chdir(before);
  rmSync(directory, { recursive: true });
  target.kill();
  await dumper.close();
});

function newFixture(): CallFixture {
  const options = { memory: 2 * MiB, deviceMemory: 4 * PAGE_SIZE, store: MiB, maxAddressSpaces: 4 };
  const machine = createMachine({ ...options, banks: [new SharedArrayBuffer(4 * PAGE_SIZE)] });
  const space = machine.createAddressSpace();
  const other = machine.createAddressSpace();
  const heap = space.mmap({ length: 4 * PAGE_SIZE, prot: 'rw', flags: ['private', 'anonymous'] });
  space.fill(heap, PAGE_SIZE, 7);
  const file = machine.createFile({ path: '/file', content: new Uint8Array(PAGE_SIZE).fill(9) });
  const pid = target?.pid ?? 1;
  return { machine, space, other, heap, file, dumper, image, memoryImage, core, pid };
}

/** Everything that a call could have changed. Memory cannot be read where its mapping is gone. */
function stateOf(fixture: CallFixture): string {
  try {
    return describeState(fixture);
  } catch (error) {
    return `unreadable: ${error}`;
  }
}

function describeState({ machine, space, other, heap, file }: CallFixture): string {
  const page = new Uint8Array(PAGE_SIZE);
  space.read(heap, page);
  return JSON.stringify([
    machine.memory,
    machine.swap,
    machine.addressSpaces().length,
    [space, other].map((each) => [each.vmas(), each.addresses(), each.readLdt(), each.auxv()]),
    space.mincore(heap, 4 * PAGE_SIZE),
    Buffer.from(page).toString('base64'),
    [file.size, file.isDeleted, machine.lookupFile('/file')?.id],
    mmdump.readPte(space, heap),
    mmdump.readPageStruct(machine, mmdump.readPte(space, heap).pfn),
    readdirSync('.'),
  ]);
}

type Outcome = { readonly error: unknown } | 'done';

async function outcomeOf({ call }: PublicCall, args: readonly unknown[]): Promise<Outcome> {
  try {
    await call(...args);
    return 'done';
  } catch (error) {
    return { error };
  }
}

/**
 * Tries wrong values. Only errors of ours may come out; a fixture that was changed is not used
 * again.
 */
class Fuzzer {
  #fixture: CallFixture = newFixture();
  #calls = publicCalls(this.#fixture);
  #state = stateOf(this.#fixture);
  calls = 0;
  readonly failures: string[] = [];

  /** `what` says which argument got which value. */
  async try(name: string, what: string, args: (call: PublicCall) => unknown[], mustFail: boolean) {
    const call = this.#calls.get(name)!;
    const outcome = await outcomeOf(call, args(call));
    this.calls++;
    if (outcome === 'done') {
      if (mustFail) this.failures.push(`${name} took ${what}`);
      if (SPOILS.test(name) || stateOf(this.#fixture) !== this.#state) this.#begin();
      return;
    }
    const { error } = outcome;
    const shown = error instanceof Error ? error.stack : String(error);
    const isOurs = error instanceof MmdumpError && typeof error.code === 'string';
    if (!isOurs) this.failures.push(`${name}, given ${what}: ${shown}`);
    if (stateOf(this.#fixture) === this.#state) return;
    // A system call that meets a hole has already changed what precedes it, as on Linux.
    const isLinux = !mustFail && error instanceof MmdumpError && error.code === 'ENOMEM';
    if (!isLinux) this.failures.push(`${name} changed something, given ${what}`);
    this.#begin();
  }

  /** Begins a fixture on which nothing has happened. */
  #begin(): void {
    this.#fixture = newFixture();
    this.#calls = publicCalls(this.#fixture);
    this.#state = stateOf(this.#fixture);
  }
}

function valid({ arguments: args }: PublicCall): unknown[] {
  return args.map((argument) => argument.valid);
}

/** A place at which a wrong value can stand: an argument, or a key of one, at any depth. */
interface Place {
  readonly what: string;
  readonly argument: Argument;
  /** Returns the arguments of the call, with `value` at this place. */
  put(call: PublicCall, value: unknown): unknown[];
}

function placesOf(call: PublicCall): Place[] {
  return call.arguments.flatMap((argument, index) =>
    placesIn(argument, `argument ${index}`, [index]),
  );
}

function placesIn(argument: Argument, what: string, path: readonly (string | number)[]): Place[] {
  const place: Place = {
    what,
    argument,
    put: (call, value) => replaced(valid(call), path, value) as unknown[],
  };
  const keys = Object.entries(argument.keys ?? {});
  return [
    place,
    ...keys.flatMap(([key, inner]) => placesIn(inner, `${what}.${key}`, [...path, key])),
  ];
}

function replaced(whole: unknown, [first, ...rest]: readonly (string | number)[], value: unknown) {
  if (first === undefined) return value;
  const copy: Record<string | number, unknown> = Array.isArray(whole)
    ? ([...whole] as unknown as Record<number, unknown>)
    : { ...(whole as object) };
  copy[first] = replaced(copy[first], rest, value);
  return copy;
}

function functionsOf(prototype: object): string[] {
  const names: string[] = [];
  for (let of = prototype; of !== Object.prototype; of = Object.getPrototypeOf(of)) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(of))) {
      const isInherited = of !== prototype && names.includes(name);
      if (name !== 'constructor' && typeof value === 'function' && !isInherited) names.push(name);
    }
  }
  return names;
}

/**
 * The names of what the package exports, and of objects that it returns without exporting their
 * class.
 */
function publicNames(fixture: CallFixture): string[] {
  const names: string[] = [];
  const addClass = (name: string, prototype: object): void => {
    for (const method of functionsOf(prototype)) names.push(`${name}.${method}`);
  };
  for (const [name, value] of Object.entries(mmdump)) {
    if (typeof value !== 'function') continue;
    if (!/^class\b/.test(Function.prototype.toString.call(value))) names.push(name);
    else {
      names.push(`new ${name}`);
      if (!(value.prototype instanceof Error)) addClass(name, value.prototype as object);
    }
  }
  addClass('SimulatedFile', Object.getPrototypeOf(fixture.file) as object);
  return [...new Set(names)].sort();
}

describe('fault 13, trial 9: wrong arguments', () => {
  it('the test knows every public function and method', () => {
    const fixture = newFixture();
    const known = new Set(publicCalls(fixture).keys());
    const names = publicNames(fixture);
    expect(names.filter((name) => !NO_CALLS.test(name) && !known.has(name))).toEqual([]);
    expect([...known].filter((name) => !names.includes(name))).toEqual([]);
  });

  it('with right values every call works, so that it is the wrong one that is refused', async () => {
    for (const name of publicCalls(newFixture()).keys()) {
      if (/^new (Machine|AddressSpace|Image|Snapshot)$|mportProcess$/.test(name)) continue;
      const call = publicCalls(newFixture()).get(name)!;
      const outcome = await outcomeOf(call, valid(call));
      expect(outcome, name).toBe('done');
    }
  });

  it('fault 13, trial 9: every wrong value of every argument is refused, and changes nothing', async () => {
    const fuzzer = new Fuzzer();
    let place = 0;
    for (const [name, call] of publicCalls(newFixture())) {
      for (const { what, argument, put } of placesOf(call)) {
        place++;
        for (const [at, [kind, make]] of Object.entries(WRONG_VALUES).entries()) {
          if (!isLong && (at + place) % 3 !== 0) continue;
          if (argument.skips?.includes(kind) === true) continue;
          const mustFail = !argument.accepts.includes(kind);
          await fuzzer.try(name, `${what}: ${kind}`, (given) => put(given, make()), mustFail);
        }
      }
    }
    expect(fuzzer.failures).toEqual([]);
    expect(fuzzer.calls).toBeGreaterThan(isLong ? 5000 : 1700);
  });

  it('any mixture of wrong and right values ends well, or in an error with a code', async () => {
    const names = [...publicCalls(newFixture()).keys()].filter(
      (name) => !/mportProcess$/.test(name),
    );
    const kinds = ['right', ...Object.keys(WRONG_VALUES)];
    const fuzzer = new Fuzzer();
    const someValues = fc.array(fc.constantFrom(...kinds), { minLength: 0, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...names), someValues, async (name, values) => {
        const args = ({ arguments: given }: PublicCall): unknown[] =>
          values.map((kind, at) => (kind === 'right' ? given[at]?.valid : WRONG_VALUES[kind]!()));
        await fuzzer.try(name, values.join(', '), args, false);
        expect(fuzzer.failures).toEqual([]);
      }),
      { numRuns: isLong ? 50_000 : 500 },
    );
  });

  it('the dumper works afterwards', async () => {
    const { space } = newFixture();
    const sink = memorySink();
    await dumper.dump(space, { to: sink });
    expect((await dumper.verify(sink.image)).ok).toBe(true);
  });
});

describe('trial 9: an error about an argument', () => {
  const { space, heap } = newFixture();
  const refusalOf = (action: () => unknown): MmdumpError => {
    try {
      action();
    } catch (error) {
      if (error instanceof MmdumpError) return error;
      throw error;
    }
    throw new Error('nothing was refused');
  };

  it('trial 9: any view of memory means its bytes, for stores and for loads', () => {
    space.write(heap, new Uint32Array([0x01020304, 300]));
    const view = new DataView(new ArrayBuffer(12), 2, 8);
    space.read(heap, view);
    expect(view.getUint32(0, true)).toBe(0x01020304);
    expect(view.getUint32(4, true)).toBe(300);
  });

  it.each([
    ['a text', () => space.write(heap, 'hello' as never), /bytes: 'hello': expected a view of/],
    ['a BigInt', () => space.read(4096n as never, new Uint8Array(1)), /4096n \(a BigInt\)/],
    ['no options', () => createMachine(undefined as never), /createMachine: undefined: expected/],
    ['a misspelt key', () => createMachine({ memroy: 5 } as never), /did you mean 'memory'/],
    ['a misspelt flag', () => space.mlockall(['curent' as never]), /did you mean 'current'/],
    ['a misspelt advice', () => space.madvise(heap, 1, 'dontned' as never), /'dontneed'/],
    ['a path for a sink', () => mmdump.memorySink({ machine: 'x' as never }), /expected a Machine/],
  ])('%s: it says what was found and what was expected', (_what, action, message) => {
    expect(refusalOf(action).message).toMatch(message);
  });

  it('names the sinks where a path was given for one', async () => {
    const dump = dumper.dump(space, { to: 'x.cpt' as never });
    await expect(dump).rejects.toThrow(/to: 'x.cpt': expected a sink, made by fileSink, /);
    await expect(dumper.dump(space, undefined as never)).rejects.toThrow(/expected an object with/);
  });

  it('tells objects of a second copy of the package from those of this one', async () => {
    const stranger = new (class AddressSpace {})();
    const dump = dumper.dump(stranger as never, { to: memorySink() });
    await expect(dump).rejects.toThrow(/loaded the package twice/);
  });
});
