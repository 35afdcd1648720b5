/**
 * The fields of the mm that a core file gives away: those of the program by its ELF headers, and
 * those of the stack by what execve has put there. What is not found stays 0, and so do start_brk
 * and brk, which no core holds.
 *
 *   start_stack: argc | argv[0] … NULL | envp[0] … NULL | auxv | … | strings | name of the program
 */
import type { MmAddresses } from '../../../mmu/mm/mm-struct.ts';
import { AUXV_TYPE, auxvValue } from '../../../shared/formats/elf/notes/auxv.ts';
import { u64At, viewOf } from '../../../shared/formats/elf/words.ts';
import { KiB } from '../../../shared/page.ts';
import type { CoreContents, CoreFile } from './core-file.ts';

const { PHDR, PHENT, PHNUM, EXECFN, RANDOM } = AUXV_TYPE;
const PT_LOAD = 1;
const PT_PHDR = 6;
const PF_X = 1;
/** The most program headers of a program that are looked at. */
const HEADERS_MAX = 128;
/** Bytes of a program header. */
const HEADER_BYTES = 56;
/** How far below AT_RANDOM the pointers to arguments and environment are looked for. */
const POINTERS_BYTES = 256 * KiB;

const UNKNOWN: MmAddresses = {
  start_code: 0,
  end_code: 0,
  start_data: 0,
  end_data: 0,
  start_brk: 0,
  brk: 0,
  start_stack: 0,
  start_arg: 0,
  end_arg: 0,
  start_env: 0,
  end_env: 0,
  def_flags: 0,
  flags: 0,
};

export async function coreAddresses(core: CoreFile, contents: CoreContents): Promise<MmAddresses> {
  const memory = new CoreMemory(core, contents);
  return {
    ...UNKNOWN,
    ...(await programFields(memory, contents.auxv)),
    ...(await stackFields(memory, contents.auxv)),
  };
}

/** The memory of the process, as far as the core has it. */
class CoreMemory {
  readonly #core: CoreFile;
  readonly #contents: CoreContents;

  constructor(core: CoreFile, contents: CoreContents) {
    this.#core = core;
    this.#contents = contents;
  }

  /** The bytes [from, to), or the last of them that the core has in one piece. */
  async before(from: number, to: number): Promise<Uint8Array> {
    const { segments } = this.#contents;
    for (let index = 0; index < segments.count; index++) {
      const start = segments.address(index);
      if (to <= start || to > start + segments.fileBytes(index)) continue;
      const first = Math.max(from, start);
      return await this.#core.read(segments.offset(index) + (first - start), to - first);
    }
    return new Uint8Array();
  }
}

/** What load_elf_binary() computes from the program headers. */
async function programFields(memory: CoreMemory, auxv: Uint8Array): Promise<Partial<MmAddresses>> {
  const at = auxvValue(auxv, PHDR);
  const count = auxvValue(auxv, PHNUM);
  if (at === 0 || count > HEADERS_MAX || auxvValue(auxv, PHENT) !== HEADER_BYTES) return {};
  const bytes = await memory.before(at, at + count * HEADER_BYTES);
  if (bytes.length !== count * HEADER_BYTES) return {};
  const view = viewOf(bytes);
  let bias = 0;
  let [startCode, endCode, startData, endData] = [Number.POSITIVE_INFINITY, 0, 0, 0];
  for (let header = 0; header < bytes.length; header += HEADER_BYTES) {
    const type = view.getUint32(header, true);
    const address = u64At(view, header + 16);
    const end = address + u64At(view, header + 32);
    if (type === PT_PHDR) bias = at - address;
    if (type !== PT_LOAD) continue;
    if ((view.getUint32(header + 4, true) & PF_X) !== 0) {
      startCode = Math.min(startCode, address);
      endCode = Math.max(endCode, end);
    }
    startData = Math.max(startData, address);
    endData = Math.max(endData, end);
  }
  const fields = {
    start_code: startCode + bias,
    end_code: endCode + bias,
    start_data: startData + bias,
    end_data: endData + bias,
  };
  return Object.values(fields).every(isAddress) ? fields : {};
}

/** Finds the auxiliary vector on the stack, and walks down from there. */
async function stackFields(memory: CoreMemory, auxv: Uint8Array): Promise<Partial<MmAddresses>> {
  const random = auxvValue(auxv, RANDOM);
  const name = auxvValue(auxv, EXECFN);
  if (random < POINTERS_BYTES || auxv.length < 16 || name <= random) return {};
  const bytes = await memory.before(random - POINTERS_BYTES, random);
  const base = random - bytes.length;
  const found = Buffer.from(bytes.buffer, 0, bytes.length).lastIndexOf(auxv.subarray(0, 16));
  if (found < 16 || (base + found) % 8 !== 0) return {};
  const view = viewOf(bytes);
  const environment = listBefore(view, found - 8);
  const list = listBefore(view, environment - 8);
  // Before argv is argc. It tells whether this is the list of arguments.
  const count = (environment - 8 - list) / 8;
  if (list < 8 || u64At(view, list - 8) !== count || count === 0) return {};
  const startEnv = environment < found - 8 ? u64At(view, environment) : name;
  const startArg = u64At(view, list);
  if (!(random < startArg && startArg <= startEnv && startEnv <= name)) return {};
  return {
    start_stack: base + list - 8,
    start_arg: startArg,
    end_arg: startEnv,
    start_env: startEnv,
    end_env: name,
  };
}

/** Where the list begins that ends with the NULL at `end`. -1 without a NULL or argc before it. */
function listBefore(view: DataView, end: number): number {
  if (end < 0 || u64At(view, end) !== 0) return -1;
  for (let at = end - 8; at >= 0; at -= 8) {
    const value = u64At(view, at);
    const isCount = value > 0 && value === (end - at) / 8 - 1;
    if (value === 0 || isCount) return at + 8;
  }
  return -1;
}

function isAddress(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
