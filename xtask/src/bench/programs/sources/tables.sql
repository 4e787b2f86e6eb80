create table t(x int, word text);
insert into t select i, md5(i::text) from generate_series(1, 5000) i;
create index on t(word);
select count(*), sum(x), min(word), max(word) from t;
create table u as select x * 2 as x from t where x % 5 = 0;
select count(*), sum(t.x) from t join u on t.x = u.x;
vacuum full t;
checkpoint;
select avg(length(word)) from t;
