/**
 * Makes of what a sink resolves with the target that workers know. A sink may come from a program, so
 * everything is checked before the first byte: workers do not check what they write to.
 */
import { optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import type { CopyTarget, ImageChunk } from '../../shared/dump/tasks/copy-target.ts';
import { GiB, PAGE_SIZE } from '../../shared/page.ts';
import { CallsOutput } from './calls-output.ts';
import type { CallsTarget, DrainContext, ImageExtent, Sink, SinkTarget } from './sink.ts';

/** A target, and what brings the bytes from it to the sink while workers fill it. */
export interface OpenTarget {
  readonly target: CopyTarget;
  readonly drain: ((context: DrainContext) => Promise<void>) | undefined;
}

const WHAT = 'the target that reserve() of the sink resolved with';
const KIND_OF_TARGET = { file: 'file', split: 'parts', memory: 'memory', stream: 'calls' } as const;
const FD = wholeNumber(0, 2 ** 31 - 1);
const CONCURRENCY = optional(wholeNumber(1, 1024));
const PIECE = optional(wholeNumber(1, GiB));

/**
 * Checks a target, and makes slots for one that takes calls. OPTION_INVALID for a target that the
 * sink cannot have; OUTPUT_FAILED if there is no memory for the slots.
 */
export function openTarget(sink: Sink, given: SinkTarget, extent: ImageExtent): OpenTarget {
  const target = given as CopyTarget | CallsTarget;
  const kind: unknown = target?.kind;
  if (kind === 'stream' && sink.drain !== undefined) {
    return { target: given as CopyTarget, drain: (context) => sink.drain!(context) };
  }
  if (kind !== KIND_OF_TARGET[sink.kind]) {
    const wanted = `kind '${KIND_OF_TARGET[sink.kind]}' for a sink of kind '${sink.kind}'`;
    throw refusal(WHAT, kind, `a target of ${wanted}`);
  }
  switch (target.kind) {
    case 'calls': {
      const output = new CallsOutput(checkedCalls(target), extent);
      return { target: output.target, drain: (context) => output.drain(context) };
    }
    case 'file':
      FD(`${WHAT}: fd`, target.fd);
      break;
    case 'memory':
      checkMemory(target.chunks, target.chunkBytes, extent.bytes);
      break;
    default:
  }
  return { target, drain: undefined };
}

function checkedCalls(target: CallsTarget): CallsTarget {
  if (typeof target.write !== 'function') {
    throw refusal(`${WHAT}: write`, target.write, 'a function');
  }
  CONCURRENCY(`${WHAT}: concurrency`, target.concurrency);
  PIECE(`${WHAT}: pieceBytes`, target.pieceBytes);
  return target;
}

function checkMemory(chunks: readonly ImageChunk[], chunkBytes: number, needed: number): void {
  wholeNumber(PAGE_SIZE)(`${WHAT}: chunkBytes`, chunkBytes);
  if (chunkBytes % PAGE_SIZE !== 0) {
    throw refusal(`${WHAT}: chunkBytes`, chunkBytes, `a multiple of ${PAGE_SIZE}`);
  }
  const count = Math.ceil(needed / chunkBytes);
  for (let index = 0; index < count; index++) {
    const name = `${WHAT}: chunks[${index}]`;
    const chunk = chunks?.[index];
    const least = Math.min(chunkBytes, needed - index * chunkBytes);
    if (chunk === undefined || !(chunk.buffer instanceof SharedArrayBuffer)) {
      throw refusal(name, chunk, 'an object with a SharedArrayBuffer as its buffer');
    }
    const { at, bytes, buffer } = chunk;
    wholeNumber(0, buffer.byteLength)(`${name}: at`, at);
    if (at % 4 !== 0) throw refusal(`${name}: at`, at, 'a multiple of 4');
    wholeNumber(least, buffer.byteLength - at)(`${name}: bytes`, bytes);
  }
}
