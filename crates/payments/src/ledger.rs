//! The books: accounts, payments and refunds in memory, shared by every instance of the service.
//!
//! Invariants, each proved by a test under concurrency:
//! - Money is conserved: the sum over all accounts and the clearing account of a currency never changes.
//! - No balance goes below zero, and no payment is refunded or cancelled beyond its amount.
//!
//! A ledger is bounded: beyond [`PAYMENTS_KEPT_MAX`] the oldest payments are forgotten with their refunds. Their money has
//! already moved, so the sums hold; only asking for them, or refunding them, is answered as unknown from then on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::money::{Currency, Money};

/// How many payments are remembered.
pub(crate) const PAYMENTS_KEPT_MAX: usize = 100_000;
/// How many refunds one payment may have.
pub(crate) const REFUNDS_PER_PAYMENT_MAX: u32 = 100;

/// An account of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: String,
    pub holder: &'static str,
    pub balance: Money,
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentStatus {
    Accepted,
    PartlyRefunded,
    Refunded,
    Cancelled,
}

impl PaymentStatus {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::PartlyRefunded => "partly_refunded",
            Self::Refunded => "refunded",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A payment out of an account. `refunded` grows up to `amount`; a cancelled payment has given everything back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub number: u64,
    pub account: String,
    pub bank: String,
    pub amount: Money,
    pub refunded: Money,
    pub refunds: u32,
    pub status: PaymentStatus,
    pub reference: Option<String>,
    pub created_at: Timestamp,
}

impl Payment {
    #[must_use]
    pub fn id(&self) -> String {
        format!("pay_{:06}", self.number)
    }
}

/// Money given back for a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    pub number: u64,
    pub payment: u64,
    pub amount: Money,
    pub reason: Option<String>,
    pub created_at: Timestamp,
}

impl Refund {
    #[must_use]
    pub fn id(&self) -> String {
        format!("ref_{:06}", self.number)
    }

    #[must_use]
    pub fn payment_id(&self) -> String {
        format!("pay_{:06}", self.payment)
    }
}

/// What a caller asks to be paid. The amount is above zero; the caller has checked that.
#[derive(Clone, Debug)]
pub struct NewPayment {
    pub account: String,
    pub bank: String,
    pub amount: Money,
    pub reference: Option<String>,
}

/// Why the books refuse a change. Nothing has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    UnknownAccount,
    UnknownPayment,
    /// The account, or the payment to be refunded, is in this other currency.
    CurrencyMismatch(Currency),
    /// What is left in the account.
    InsufficientFunds(Money),
    NotCancellable(PaymentStatus),
    /// What may still be refunded.
    RefundAboveRest(Money),
    TooManyRefunds,
}

/// The store. Cheap to share: [`Ledger::new`] returns it in an `Arc`.
pub struct Ledger {
    books: Mutex<Books>,
    clock: fn() -> Timestamp,
}

#[derive(Default)]
struct Books {
    accounts: BTreeMap<String, Account>,
    clearing_minor: BTreeMap<Currency, i64>,
    payments: BTreeMap<u64, Payment>,
    refunds: BTreeMap<u64, Refund>,
    last_payment: u64,
    last_refund: u64,
}

const ACCOUNTS: [(&str, &str, i64, Currency); 8] = [
    ("acc_1001", "Nomsa Dlamini", 25_000_000_000, Currency::Zar),
    ("acc_1002", "Pieter van Wyk", 18_000_000_000, Currency::Zar),
    ("acc_1003", "Thandi Nkosi", 9_000_000_000, Currency::Zar),
    ("acc_1004", "Ana Pereira", 7_500_000_000, Currency::Eur),
    ("acc_1005", "Grace Miller", 6_000_000_000, Currency::Usd),
    ("acc_1006", "Kenji Sato", 900_000_000, Currency::Jpy),
    ("acc_1007", "Layla Al-Sabah", 5_000_000_000, Currency::Kwd),
    ("acc_1008", "Empty Pockets", 100, Currency::Zar),
];

/// Banks a payment may go to: reference data, the same for all versions.
pub(crate) const BANKS: [(&str, &str, &str); 5] = [
    ("absa", "Absa Bank", "ZA"),
    ("capitec", "Capitec Bank", "ZA"),
    ("fnb", "First National Bank", "ZA"),
    ("ing", "ING Bank", "NL"),
    ("mizuho", "Mizuho Bank", "JP"),
];

/// Where a payment goes that names no bank.
pub(crate) const BANK_DEFAULT: &str = "fnb";

impl Ledger {
    /// Eight accounts and three payments (`pay_000001` to `pay_000003`) to look at.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::with_clock(Timestamp::now)
    }

    /// The same with another clock, for answers that must not depend on the day.
    #[must_use]
    pub fn with_clock(clock: fn() -> Timestamp) -> Arc<Self> {
        let mut books = Books::default();
        for (id, holder, minor, currency) in ACCOUNTS {
            let account = Account { id: id.to_owned(), holder, balance: Money { minor, currency } };
            books.accounts.insert(id.to_owned(), account);
            books.clearing_minor.entry(currency).or_insert(0);
        }
        let ledger = Self { books: Mutex::new(books), clock };
        let seeds = [
            ("acc_1001", "absa", 1_250, Currency::Zar, "invoice 1041"),
            ("acc_1002", "capitec", 89_900, Currency::Zar, "school fees"),
            ("acc_1004", "ing", 4_999, Currency::Eur, "train"),
        ];
        for (account, bank, minor, currency, reference) in seeds {
            let new = NewPayment {
                account: account.to_owned(),
                bank: bank.to_owned(),
                amount: Money { minor, currency },
                reference: Some(reference.to_owned()),
            };
            ledger.pay(new).expect("the seeds fit the accounts above");
        }
        Arc::new(ledger)
    }

    #[must_use]
    pub fn account(&self, id: &str) -> Option<Account> {
        self.books().accounts.get(id).cloned()
    }

    #[must_use]
    pub fn payment(&self, id: &str) -> Option<Payment> {
        self.books().payments.get(&number_of(id, "pay_")?).cloned()
    }

    #[must_use]
    pub fn refund(&self, id: &str) -> Option<Refund> {
        self.books().refunds.get(&number_of(id, "ref_")?).cloned()
    }

    /// Newest first, at most `limit`, older than the payment `before` if given; and whether there are more.
    #[must_use]
    pub fn payments(&self, limit: usize, before: Option<u64>) -> (Vec<Payment>, bool) {
        let books = self.books();
        let mut older =
            books.payments.range(..before.unwrap_or(u64::MAX)).rev().map(|(_, payment)| payment.clone());
        let page: Vec<Payment> = older.by_ref().take(limit).collect();
        (page, older.next().is_some())
    }

    /// How many remembered payments carry this reference: more than one where a caller let something happen twice.
    #[must_use]
    pub fn payments_with_reference(&self, reference: &str) -> usize {
        self.books()
            .payments
            .values()
            .filter(|payment| payment.reference.as_deref() == Some(reference))
            .count()
    }

    /// Per currency, the sum of all accounts and the clearing account in minor units. It never changes.
    #[must_use]
    pub fn totals_minor(&self) -> BTreeMap<Currency, i64> {
        let books = self.books();
        let mut totals = books.clearing_minor.clone();
        for account in books.accounts.values() {
            *totals.entry(account.balance.currency).or_insert(0) += account.balance.minor;
        }
        totals
    }

    /// Debits the account.
    ///
    /// # Errors
    /// Unknown account, another currency than the account's, or more than it holds.
    pub fn pay(&self, new: NewPayment) -> Result<Payment, Refusal> {
        let created_at = (self.clock)();
        let mut books = self.books();
        let account = books.accounts.get_mut(&new.account).ok_or(Refusal::UnknownAccount)?;
        if account.balance.currency != new.amount.currency {
            return Err(Refusal::CurrencyMismatch(account.balance.currency));
        }
        if account.balance.minor < new.amount.minor {
            return Err(Refusal::InsufficientFunds(account.balance));
        }
        account.balance.minor -= new.amount.minor;
        *books.clearing_minor.entry(new.amount.currency).or_insert(0) += new.amount.minor;
        books.last_payment += 1;
        let payment = Payment {
            number: books.last_payment,
            account: new.account,
            bank: new.bank,
            amount: new.amount,
            refunded: Money { minor: 0, currency: new.amount.currency },
            refunds: 0,
            status: PaymentStatus::Accepted,
            reference: new.reference,
            created_at,
        };
        books.payments.insert(payment.number, payment.clone());
        books.forget_oldest();
        Ok(payment)
    }

    /// Gives everything back, as long as nothing has been refunded.
    ///
    /// # Errors
    /// Unknown payment, or one that is cancelled or refunded already.
    pub fn cancel(&self, id: &str) -> Result<Payment, Refusal> {
        let mut books = self.books();
        let number = number_of(id, "pay_").ok_or(Refusal::UnknownPayment)?;
        let payment = books.payments.get_mut(&number).ok_or(Refusal::UnknownPayment)?;
        if payment.status != PaymentStatus::Accepted {
            return Err(Refusal::NotCancellable(payment.status));
        }
        payment.status = PaymentStatus::Cancelled;
        payment.refunded = payment.amount;
        let payment = payment.clone();
        books.credit(&payment.account, payment.amount);
        Ok(payment)
    }

    /// Gives back `amount`, or all that is left of the payment.
    ///
    /// # Errors
    /// Unknown payment, another currency, more than is left (nothing left included), or too many refunds.
    pub fn give_back(
        &self,
        id: &str,
        amount: Option<Money>,
        reason: Option<String>,
    ) -> Result<Refund, Refusal> {
        let created_at = (self.clock)();
        let mut books = self.books();
        let number = number_of(id, "pay_").ok_or(Refusal::UnknownPayment)?;
        let payment = books.payments.get_mut(&number).ok_or(Refusal::UnknownPayment)?;
        let currency = payment.amount.currency;
        let rest = Money { minor: payment.amount.minor - payment.refunded.minor, currency };
        let amount = amount.unwrap_or(rest);
        if amount.currency != currency {
            return Err(Refusal::CurrencyMismatch(currency));
        }
        if amount.minor > rest.minor || rest.minor == 0 {
            return Err(Refusal::RefundAboveRest(rest));
        }
        if payment.refunds == REFUNDS_PER_PAYMENT_MAX {
            return Err(Refusal::TooManyRefunds);
        }
        payment.refunds += 1;
        payment.refunded.minor += amount.minor;
        let whole = payment.refunded.minor == payment.amount.minor;
        payment.status = if whole { PaymentStatus::Refunded } else { PaymentStatus::PartlyRefunded };
        let account = payment.account.clone();
        books.credit(&account, amount);
        books.last_refund += 1;
        let refund = Refund { number: books.last_refund, payment: number, amount, reason, created_at };
        books.refunds.insert(refund.number, refund.clone());
        Ok(refund)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // A panic inside would have been a bug of this file; the books are changed only after all checks have passed.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn credit(&mut self, account: &str, amount: Money) {
        let account = self.accounts.get_mut(account).expect("a payment names an account that exists");
        account.balance.minor += amount.minor;
        *self.clearing_minor.entry(amount.currency).or_insert(0) -= amount.minor;
    }

    fn forget_oldest(&mut self) {
        if self.payments.len() <= PAYMENTS_KEPT_MAX {
            return;
        }
        let Some((oldest, payment)) = self.payments.pop_first() else { return };
        if payment.refunds > 0 {
            self.refunds.retain(|_, refund| refund.payment != oldest);
        }
    }
}

/// `pay_000017` -> 17, only in the spelling the ledger itself uses.
pub(crate) fn number_of(id: &str, prefix: &str) -> Option<u64> {
    let digits = id.strip_prefix(prefix)?;
    let number: u64 = digits.parse().ok()?;
    (format!("{number:06}") == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Ledger, NewPayment, PaymentStatus, Refusal, number_of};
    use crate::money::{Currency, Money};

    fn rand(minor: i64) -> Money {
        Money { minor, currency: Currency::Zar }
    }

    fn order(account: &str, amount: Money) -> NewPayment {
        NewPayment {
            account: account.to_owned(),
            bank: "fnb".to_owned(),
            amount,
            reference: Some("r".to_owned()),
        }
    }

    #[test]
    fn what_the_books_refuse_moves_nothing() {
        let ledger = Ledger::new();
        let before = (ledger.totals_minor(), ledger.account("acc_1008"));
        let rows = [
            (order("acc_0", rand(1)), Refusal::UnknownAccount),
            (
                order("acc_1008", Money { minor: 1, currency: Currency::Eur }),
                Refusal::CurrencyMismatch(Currency::Zar),
            ),
            (order("acc_1008", rand(101)), Refusal::InsufficientFunds(rand(100))),
        ];
        for (new, refusal) in rows {
            assert_eq!(ledger.pay(new), Err(refusal));
        }
        assert_eq!(ledger.cancel("pay_999999"), Err(Refusal::UnknownPayment));
        assert_eq!(ledger.give_back("pay_1", None, None), Err(Refusal::UnknownPayment));
        assert_eq!(
            ledger.give_back("pay_000001", Some(rand(1_251)), None),
            Err(Refusal::RefundAboveRest(rand(1_250)))
        );
        assert_eq!((ledger.totals_minor(), ledger.account("acc_1008")), before);
        assert_eq!(ledger.payments_with_reference("r"), 0);
    }

    #[test]
    fn a_payment_is_cancelled_whole_or_refunded_in_parts_never_both() {
        let ledger = Ledger::new();
        let id = ledger.pay(order("acc_1008", rand(100))).expect("funds").id();
        assert_eq!(ledger.account("acc_1008").expect("seeded").balance, rand(0));
        ledger.give_back(&id, Some(rand(40)), None).expect("within the payment");
        assert_eq!(ledger.cancel(&id), Err(Refusal::NotCancellable(PaymentStatus::PartlyRefunded)));
        ledger.give_back(&id, None, None).expect("the rest");
        assert_eq!(ledger.give_back(&id, None, None), Err(Refusal::RefundAboveRest(rand(0))));
        assert_eq!(ledger.payment(&id).expect("kept").status, PaymentStatus::Refunded);

        let id = ledger.pay(order("acc_1008", rand(100))).expect("all came back").id();
        assert_eq!(ledger.cancel(&id).expect("untouched").status, PaymentStatus::Cancelled);
        assert_eq!(ledger.give_back(&id, None, None), Err(Refusal::RefundAboveRest(rand(0))));
    }

    #[test]
    fn money_is_conserved_under_concurrency() {
        let ledger = Ledger::new();
        let before = ledger.totals_minor();
        std::thread::scope(|scope| {
            for seed in 0..8_u64 {
                let ledger = Arc::clone(&ledger);
                scope.spawn(move || shuffle(&ledger, seed));
            }
        });
        assert_eq!(ledger.totals_minor(), before);
        let (payments, more) = ledger.payments(usize::MAX, None);
        assert!(!more && payments.len() > 1_000);
        for payment in payments {
            assert!((0..=payment.amount.minor).contains(&payment.refunded.minor), "{payment:?}");
        }
        for account in ["acc_1001", "acc_1008"] {
            assert!(ledger.account(account).expect("seeded").balance.minor >= 0);
        }
    }

    /// 2,000 random changes; the small account makes threads fight over the last cents.
    fn shuffle(ledger: &Ledger, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..2_000 {
            let (page, _) = ledger.payments(8, None);
            let id = page[random.usize(..page.len())].id();
            match random.u8(..4) {
                0 => drop(ledger.pay(order("acc_1001", rand(random.i64(1..=500))))),
                1 => drop(ledger.pay(order("acc_1008", rand(random.i64(1..=60))))),
                2 => drop(ledger.give_back(&id, Some(rand(random.i64(1..=300))), None)),
                _ => drop(ledger.cancel(&id)),
            }
        }
    }

    #[test]
    fn ids_have_one_spelling() {
        for id in ["", "pay_", "pay_1", "pay_0000001", "pay_+00001", "ref_000001", "pay_99999999999999999999"]
        {
            assert_eq!(number_of(id, "pay_"), None, "{id}");
        }
        assert_eq!(number_of("pay_000017", "pay_"), Some(17));
        assert_eq!(number_of("pay_1000000", "pay_"), Some(1_000_000));
    }

    #[test]
    fn pages_run_from_new_to_old_without_gaps() {
        let ledger = Ledger::new();
        let (first, more) = ledger.payments(2, None);
        assert_eq!((first.iter().map(|p| p.number).collect::<Vec<_>>(), more), (vec![3, 2], true));
        let (rest, more) = ledger.payments(2, Some(2));
        assert_eq!((rest.iter().map(|p| p.number).collect::<Vec<_>>(), more), (vec![1], false));
    }
}
