pragma journal_mode = wal;
create table notes(id integer primary key, word text, number real);
begin;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
  insert into notes select i, hex(i * 7919), i / 3.0 from n;
commit;
create index words on notes(word);
update notes set number = number * 2 where id % 3 = 0;
delete from notes where id % 7 = 0;
select count(*), sum(id), round(sum(number), 3), max(word) from notes;
pragma wal_checkpoint(truncate);
pragma integrity_check;
vacuum;
select count(*) from notes where word like 'A%';
