-- The legacy retail system: types and tables, dropped and made again. Keys and views follow the rows (keys.sql).
-- Parameters: none. Result: none.
DROP VIEW IF EXISTS "V_STORE", "V_HSHD_PROFILE" CASCADE;
DROP TABLE IF EXISTS "CUST_MASTER", "STORE_MASTER", "RGN_CODES", "PROD_MASTER", "TXN_HDR", "TXN_LINE",
    "CAMPGN", "CAMPGN_HH", "COUPN", "COUPN_REDM", "CUST_NOTE", "PROMO" CASCADE;
DROP TYPE IF EXISTS "CUST_STAT" CASCADE;
DROP DOMAIN IF EXISTS "LOY_CD" CASCADE;
DROP SCHEMA IF EXISTS demo_manifest CASCADE;

CREATE TYPE "CUST_STAT" AS ENUM ('A', 'I', 'X');
CREATE DOMAIN "LOY_CD" AS char(2) CHECK (VALUE ~ '^[A-Z]');

CREATE TABLE "CUST_MASTER" (
    "HSHD_NO"     integer NOT NULL,
    "Cust_Name"   char(48) NOT NULL,          -- 'LAST, FIRST', padded, blanks anywhere
    "EMAIL_ADDR"  varchar(96),                -- any case; NULL and '' both mean none
    "PHONE_NO"    varchar(24),
    "CARD_NO"     char(16),
    "ADDR_TXT"    text,                       -- lines separated by line feeds
    "POST_CD"     char(10),
    "JOIN_DT"     char(8) NOT NULL,           -- YYYYMMDD
    "BIRTH_DT"    varchar(8),                 -- YYYYMMDD, '', '00000000' or NULL
    "STAT_CD"     "CUST_STAT" NOT NULL,
    "LOY_TIER"    "LOY_CD" NOT NULL,
    "MAIL_FLG"    char(1),                    -- Y, N, blank or NULL
    "CRDT_CENTS"  bigint NOT NULL,
    "REF_NO"      integer,                    -- the household that referred this one; never enforced
    "AGE_CD"      varchar(6),
    "INCOME_RNG"  varchar(12),
    "HOME_CD"     varchar(20),
    "MARTL_CD"    varchar(10),
    "HSHD_SZ"     varchar(4),
    "HSHD_CMP"    varchar(20),
    "KIDS_CNT"    varchar(4),
    "PREF_TAGS"   text[],
    "PREF_JS"     jsonb,
    "PHOTO"       bytea,
    "CRT_TS"      timestamp(0) NOT NULL,      -- New York wall clock
    "UPD_TS"      timestamptz NOT NULL
);
CREATE TABLE "RGN_CODES" ("RGN_CD" char(2) NOT NULL, "RGN_NM" varchar(30) NOT NULL);
CREATE TABLE "STORE_MASTER" (
    "STORE_CD"    char(8) NOT NULL,           -- S00330, padded
    "STORE_NM"    varchar(60) NOT NULL,
    "RGN_CD"      char(2),
    "OPEN_DT"     varchar(10),                -- DD.MM.YYYY
    "SQ_FT"       real,
    "HRS_JS"      jsonb
);
CREATE TABLE "PROD_MASTER" (
    "PROD_ID"     bigint NOT NULL,
    "MFR_NO"      integer,
    "DEPT_NM"     varchar(30) NOT NULL,
    "BRND_CD"     char(1) NOT NULL,           -- N national, P private
    "CATG_NM"     varchar(40),
    "TYPE_NM"     varchar(40),
    "PKG_SZ"      varchar(20),                -- '22 LB', '14.5 OZ', ''
    "LIST_PRC"    varchar(16) NOT NULL,       -- text of European habit: 1.299,00
    "SHLF_DAYS"   integer,
    "ALT_UPCS"    text[],
    "ATTR_JS"     jsonb,
    "DESC_TXT"    text,
    "IMG_MD5"     bytea
);
CREATE TABLE "TXN_HDR" (
    "BASKET_ID"   bigint NOT NULL,
    "HSHD_NO"     integer NOT NULL,
    "STORE_CD"    char(8) NOT NULL,
    "TXN_DT"      char(8) NOT NULL,           -- YYYYMMDD, New York
    "TXN_TS"      timestamp(0) NOT NULL,      -- New York wall clock
    "REG_TS"      timestamptz NOT NULL,       -- when the till's journal was booked
    "WK_NO"       smallint NOT NULL,
    "PAY_CD"      char(2)
);
CREATE TABLE "TXN_LINE" (
    "BASKET_ID"      bigint NOT NULL,
    "LINE_NO"        integer NOT NULL,
    "HSHD_NO"        integer,                 -- copied from the header by the till, years ago
    "PROD_ID"        bigint NOT NULL,
    "QTY"            bigint NOT NULL,
    "SALES_CENTS"    bigint NOT NULL,
    "RTL_DISC_CENTS" integer NOT NULL,
    "CPN_DISC_CENTS" integer NOT NULL,
    "CPN_MTCH_CENTS" integer NOT NULL,
    "PRIV_FLG"       char(1)                  -- Y for a private brand
);
CREATE TABLE "CAMPGN" (
    "CAMPGN_CD"   char(4) NOT NULL,           -- C01, padded
    "CAMPGN_TYP"  varchar(10) NOT NULL,
    "STRT_DT"     varchar(11) NOT NULL,       -- 03-MAR-2017
    "END_DT"      varchar(11) NOT NULL
);
CREATE TABLE "CAMPGN_HH" ("CAMPGN_CD" char(4) NOT NULL, "HSHD_NO" integer NOT NULL, "CHNL" varchar(8));
CREATE TABLE "COUPN" ("COUPN_UPC" bigint NOT NULL, "CAMPGN_CD" char(4) NOT NULL, "PROD_ID" bigint NOT NULL);
CREATE TABLE "COUPN_REDM" (
    "RDM_NO"      integer NOT NULL,
    "HSHD_NO"     integer NOT NULL,
    "COUPN_UPC"   bigint NOT NULL,
    "CAMPGN_CD"   char(4) NOT NULL,
    "RDM_DT"      varchar(10) NOT NULL        -- MM/DD/YYYY
);
CREATE TABLE "CUST_NOTE" (                    -- a log without any key; rows repeat
    "HSHD_NO"     integer,
    "NOTE_TS"     timestamptz NOT NULL,
    "CHNL_CD"     char(1),
    "AGENT"       varchar(30),
    "BODY"        text,
    "TAGS"        text[]
);
CREATE TABLE "PROMO" (
    "PROD_ID"     bigint NOT NULL,
    "STORE_NO"    integer NOT NULL,
    "WK_NO"       smallint NOT NULL,
    "DISP_CD"     char(1) NOT NULL,
    "MAIL_CD"     char(1) NOT NULL
);
