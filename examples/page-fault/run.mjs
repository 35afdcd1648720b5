// A lecture on page faults. At each step one thing is done to one page; then the page tables, the
// frame and what a dump would make of the page are shown, and which faults there were.
//
//   node examples/page-fault/run.mjs
import { createMachine, explainPage, MiB, PAGE_SIZE } from 'mmdump';

const machine = createMachine({ memory: 32 * MiB, swap: 8 * MiB, zeroPage: true });
const faults = [];
machine.on('fault', (fault) => faults.push(fault));

/** Shows what there is at an address, after a step. `mms` are dumped together; `mm` is looked at. */
async function show(title, text, mms, address, mm = 0) {
  step++;
  console.log(`${step}. ${title}`);
  for (const line of wrapped(text)) console.log(`   ${line}`);
  for (const { access, kind, isMajor } of faults.splice(0)) {
    console.log(`   fault:  ${isMajor ? 'major' : 'minor'}, on a ${access}: ${kind}`);
  }
  const page = await explainPage(mms, address, { mm });
  const last = page.walk.at(-1);
  console.log(`   tables: ${page.walk.map(({ table }) => table).join(' > ') || 'none'}`);
  if (last?.table === 'pte') console.log(`   pte:    ${last.bits.join(' ') || 'not present'}`);
  if (page.frame !== null) {
    const { flags, references, mapCount } = page.frame;
    const kind = flags.length === 0 ? 'page cache' : flags.join(' ');
    console.log(`   frame:  ${kind}, reference count ${references}, map count ${mapCount}`);
  }
  if (page.swap !== null)
    console.log(`   swap:   slot ${page.swap.slot}, reference count ${page.swap.references}`);
  const row = page.row === null ? '' : ` (row ${page.row} of docs/CLASSIFICATION.md)`;
  console.log(`   dump:   ${page.class}, ${page.reason}${row}`);
  console.log();
}
let step = 0;

function wrapped(text, width = 92) {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = `${lines.at(-1)} ${word}`.trim();
    if (line.length <= width) lines[lines.length - 1] = line;
    else lines.push(word);
  }
  return lines;
}

const byte = new Uint8Array(1);
const flags = ['private', 'anonymous'];
const parent = machine.createAddressSpace();
const heap = parent.mmap({ length: MiB, prot: 'rw', flags });

await show(
  'mmap',
  'A mapping is a promise. There is a VMA now, but not one entry in the page tables and no frame.',
  parent,
  heap,
);

parent.read(heap, byte);
await show(
  'Read of an untouched page',
  'The fault builds the tables and maps the zero page, which all untouched pages share. The entry ' +
    'is not writable.',
  parent,
  heap,
);

parent.write(heap, new Uint8Array([1]));
await show(
  'Write to the zero page',
  'The entry is present but not writable: the fault gives the page a frame of its own.',
  parent,
  heap,
);

parent.write(heap + PAGE_SIZE, new Uint8Array([2]));
await show(
  'Write to an untouched page',
  'Demand zero: a frame is filled with zeros and mapped at once, without the zero page. The tables ' +
    'are there already.',
  parent,
  heap + PAGE_SIZE,
);

const child = parent.fork();
await show(
  'fork, seen by the parent',
  'The child gets the same frames, and both lose the right to write to them. No byte is copied.',
  [parent, child],
  heap,
);
await show(
  'fork, seen by the child',
  'In a dump of both, the parent stores the bytes and the page of the child is a clone.',
  [parent, child],
  heap,
  1,
);

child.write(heap, new Uint8Array([3]));
await show(
  'Write in the child: copy on write',
  'The mapping allows the write and the entry does not, so the page is copied. The child has a frame ' +
    'of its own again.',
  [parent, child],
  heap,
  1,
);

parent.write(heap, new Uint8Array([4]));
await show(
  'Write in the parent: reuse',
  'Nobody else refers to the frame any more. The fault only makes the entry writable.',
  [parent, child],
  heap,
);

child.madvise(heap, PAGE_SIZE, 'pageout');
await show(
  'Memory is short: the page goes to swap',
  'The bytes lie in a slot, and the entry, which is not present, says in which. A dump reads the slot.',
  [parent, child],
  heap,
  1,
);

child.read(heap, byte);
const fromSwap = byte[0];
await show(
  'Read of a page in swap',
  'A major fault: the bytes have to be fetched. They are what the child has written: 3.',
  [parent, child],
  heap,
  1,
);

const text = new TextEncoder().encode('a page of a file');
const file = machine.createFile({ path: '/lecture', content: text });
const view = parent.mmap({ length: PAGE_SIZE, prot: 'rw', flags: ['private'], file: file.id });
parent.read(view, byte);
await show(
  'Read of a file',
  'The page of the page cache itself is mapped, read-only. A dump leaves it out: the file has it.',
  parent,
  view,
);

parent.write(view, new Uint8Array([5]));
await show(
  'Write to a private mapping of a file',
  'Copy on write once more: the page becomes anonymous, and the file does not change.',
  parent,
  view,
);

parent.madvise(heap, PAGE_SIZE, 'guard_install');
await show(
  'A guard page',
  'The entry says that every access is an error. The frame is gone.',
  parent,
  heap,
);

parent.munmap(heap, MiB);
await show('munmap', 'Without a VMA an access ends in SIGSEGV.', parent, heap);
console.log(`The page from swap begins with ${fromSwap}, and the file still with '${fileByte()}'.`);
await machine.close();

/** The first byte of the file, which the private write has not changed. */
function fileByte() {
  const other = machine.createAddressSpace();
  const at = other.mmap({ length: PAGE_SIZE, prot: 'r', flags: ['private'], file: file.id });
  other.read(at, byte);
  return String.fromCharCode(byte[0]);
}
